//! The C header and the Rust types describe the same memory and the same numbers: a C file that
//! asserts every size, offset, signature and constant that this test sees in Rust must compile.

use std::fmt::Write as _;
use std::mem::offset_of;
use std::process::Command;

use ablate_abi::*;

use crate::compile::{compile, folder};

/// Asserts the size of a struct and the offset and size of each of its fields. Listing all fields in
/// a pattern makes the compiler complain here when one is added to the Rust side alone.
macro_rules! layout {
    ($out:ident, $rust:ident = $c:literal { $($field:ident),* $(,)? }) => {
        #[allow(dead_code)]
        fn $rust(value: $rust) { let $rust { $($field: _),* } = value; }
        writeln!($out, "_Static_assert(sizeof({0}) == {1}, \"{0}\");", $c, size_of::<$rust>()).unwrap();
        $(
            writeln!($out, "_Static_assert(offsetof({0}, {1}) == {2}, \"{0}.{1}\");",
                $c, stringify!($field), offset_of!($rust, $field)).unwrap();
        )*
        // In this minor version every struct is required in full.
        layout!(@gated $rust);
    };
    (@gated Str) => {};
    (@gated Metric) => {};
    (@gated Series) => {};
    (@gated ArrowSchema) => {};
    (@gated ArrowArray) => {};
    (@gated $rust:ident) => {
        assert_eq!(size_of::<$rust>(), <$rust as SizeGated>::MIN_SIZE, stringify!($rust));
        assert_eq!(offset_of!($rust, struct_size), 0);
    };
}

macro_rules! constants {
    ($out:ident: $($c:literal = $value:expr),* $(,)?) => {
        $( writeln!($out, "_Static_assert({} == {}, \"{0}\");", $c, $value).unwrap(); )*
    };
}

macro_rules! texts {
    ($out:ident: $($c:literal = $value:expr),* $(,)?) => {
        $( writeln!($out, "  if (strcmp({}, \"{}\") != 0) return __LINE__;", $c, $value).unwrap(); )*
    };
}

#[allow(non_snake_case)]
fn c_source() -> String {
    let mut out = String::from("#include \"ablate_plugin.h\"\n");
    layout!(out, Str = "ablate_str" { ptr, len });
    layout!(out, Plugin = "ablate_plugin" {
        struct_size, abi_major, abi_minor, magic, name, version, license, description,
        capabilities, capability_count, get_extension, abi_minor_needed, reserved,
    });
    layout!(out, Capability = "ablate_capability" {
        struct_size, reserved, name, description, config_schema, extensions, extension_count,
    });
    layout!(out, Host = "ablate_host" {
        struct_size, abi_major, abi_minor, name, version, get_extension, set_error, last_error, log,
        write,
    });
    layout!(out, RandomApi = "ablate_random_api" { struct_size, reserved, stream, child, words });
    layout!(out, DeclareApi = "ablate_declare_api" { struct_size, reserved, feature, slot, scalar });
    layout!(out, BatchApi = "ablate_batch_api" { struct_size, reserved, write_feature });
    layout!(out, ModelApi = "ablate_model_api" {
        struct_size, reserved, number, tensor, activation, feature, parameter, metric, encode,
    });
    layout!(out, PretrainedApi = "ablate_pretrained_api" {
        struct_size, reserved, number, hidden, weight, activation,
    });
    layout!(out, ObjectiveSetup = "ablate_objective_setup" {
        struct_size, index, objectives, objective_count, hidden_dropout, attention_dropout,
        sequence_length, vocabulary, vocab_size,
    });
    layout!(out, GraphApi = "ablate_graph_api" {
        struct_size, reserved, shape, scalar, iota, uniform, unary, binary, binary_scalar, select,
        reduce, permute, reshape, expand, slice, pad, concat, matmul, linear, gather, one_hot,
        softmax, layer_norm, dropout, cross_entropy, push_scope, pop_scope,
    });
    layout!(out, FeatureSpec = "ablate_feature_spec" { struct_size, layout, name, classes, density });
    layout!(out, SlotSpec = "ablate_slot_spec" { struct_size, rank, name, dims, initial });
    layout!(out, BatchView = "ablate_batch_view" {
        struct_size, reserved, rows, batch, seq, input_ids, token_type_ids, attention_mask,
        special_tokens_mask, next_sentence_label, example_ids, row_keys, vocab_size, mask_id, pad_id,
        special_ids, special_count, continues_word, split, reserved_2, step, epoch, segment_order_label,
        original_ids, predicted,
    });
    layout!(out, ObjectiveApi = "ablate_objective_api" {
        struct_size, reserved, create, destroy, weight, needs, features, prepare, build, check,
    });
    layout!(out, ParameterInfo = "ablate_parameter_info" {
        struct_size, role, name, dims, rank, decay,
    });
    layout!(out, UpdateInput = "ablate_update_input" {
        struct_size, variant, info, parameter, gradient, slots, slot_count, scalars, scalar_count,
    });
    layout!(out, UpdateOutput = "ablate_update_output" { struct_size, reserved, parameter, slots });
    layout!(out, OptimizerApi = "ablate_optimizer_api" {
        struct_size, reserved, create, destroy, base_learning_rate, slots, scalar_names, scalars,
        update, variants, variant,
    });
    layout!(out, Metric = "ablate_metric" { name, value });
    layout!(out, Series = "ablate_series" { name, split, reserved, steps, values, count });
    layout!(out, Event = "ablate_event" {
        struct_size, split, step, tokens, metrics, metric_count, history, history_count, flops,
        seconds,
    });
    layout!(out, ScheduleInput = "ablate_schedule_input" { struct_size, reserved, step });
    layout!(out, ScheduleApi = "ablate_schedule_api" { struct_size, reserved, create, destroy, factor });
    layout!(out, ArrowSchema = "struct ArrowSchema" {
        format, name, metadata, flags, n_children, children, dictionary, release, private_data,
    });
    layout!(out, ArrowArray = "struct ArrowArray" {
        length, null_count, offset, n_buffers, n_children, buffers, children, dictionary, release,
        private_data,
    });
    layout!(out, OperatorApi = "ablate_operator_api" {
        struct_size, reserved, create, destroy, filter, map,
    });
    layout!(out, StoppingApi = "ablate_stopping_api" {
        struct_size, reserved, create, destroy, observe, save, load, history_length,
    });
    constants!(out:
        "ABLATE_ABI_MAJOR" = ABI_MAJOR, "ABLATE_ABI_MINOR" = ABI_MINOR,
        "ABLATE_MAX_RANK" = MAX_RANK, "ABLATE_NO_TENSOR" = NO_TENSOR,
        "ABLATE_PLUGIN_MAGIC" = format!("UINT64_C({MAGIC})"),
        "sizeof(ablate_tensor)" = size_of::<Tensor>(), "sizeof(ablate_status)" = size_of::<Status>(),
        "ABLATE_OK" = status::OK, "ABLATE_INVALID" = status::INVALID,
        "ABLATE_CONFIG" = status::CONFIG, "ABLATE_UNKNOWN_NAME" = status::UNKNOWN_NAME,
        "ABLATE_UNSUPPORTED" = status::UNSUPPORTED, "ABLATE_STATE" = status::STATE,
        "ABLATE_PANIC" = status::PANIC, "ABLATE_INTERNAL" = status::INTERNAL,
        "ABLATE_LOG_ERROR" = level::ERROR, "ABLATE_LOG_WARN" = level::WARN,
        "ABLATE_LOG_INFO" = level::INFO, "ABLATE_LOG_DEBUG" = level::DEBUG,
        "ABLATE_LAYOUT_PER_TOKEN" = layout::PER_TOKEN,
        "ABLATE_LAYOUT_PER_SEQUENCE" = layout::PER_SEQUENCE,
        "ABLATE_NEEDS_SENTENCE_PAIRS" = needs::SENTENCE_PAIRS,
        "ABLATE_NEEDS_ORDERED_PAIRS" = needs::ORDERED_PAIRS,
        "ABLATE_ROLE_WEIGHT" = role::WEIGHT, "ABLATE_ROLE_BIAS" = role::BIAS,
        "ABLATE_ROLE_NORM_SCALE" = role::NORM_SCALE, "ABLATE_ROLE_NORM_BIAS" = role::NORM_BIAS,
        "ABLATE_ROLE_EMBEDDING" = role::EMBEDDING,
        "ABLATE_SPLIT_TRAIN" = split::TRAIN, "ABLATE_SPLIT_VALIDATION" = split::VALIDATION,
        "ABLATE_CONTINUE" = decision::CONTINUE, "ABLATE_STOP" = decision::STOP,
        "ABLATE_ABORT" = decision::ABORT,
        "ABLATE_NEG" = unary::NEG, "ABLATE_RECIP" = unary::RECIP, "ABLATE_SQRT" = unary::SQRT,
        "ABLATE_RSQRT" = unary::RSQRT, "ABLATE_SQUARE" = unary::SQUARE, "ABLATE_EXP" = unary::EXP,
        "ABLATE_LOG" = unary::LOG, "ABLATE_EXP2" = unary::EXP2, "ABLATE_LOG2" = unary::LOG2,
        "ABLATE_SIN" = unary::SIN, "ABLATE_COS" = unary::COS, "ABLATE_ABS" = unary::ABS,
        "ABLATE_SIGN" = unary::SIGN, "ABLATE_RELU" = unary::RELU, "ABLATE_TANH" = unary::TANH,
        "ABLATE_SIGMOID" = unary::SIGMOID, "ABLATE_ERF" = unary::ERF, "ABLATE_GELU" = unary::GELU,
        "ABLATE_GELU_TANH" = unary::GELU_TANH, "ABLATE_SILU" = unary::SILU,
        "ABLATE_NOT" = unary::NOT, "ABLATE_CONTIGUOUS" = unary::CONTIGUOUS,
        "ABLATE_STOP_GRADIENT" = unary::STOP_GRADIENT,
        "ABLATE_ADD" = binary::ADD, "ABLATE_SUB" = binary::SUB, "ABLATE_MUL" = binary::MUL,
        "ABLATE_DIV" = binary::DIV, "ABLATE_MAXIMUM" = binary::MAXIMUM,
        "ABLATE_MINIMUM" = binary::MINIMUM, "ABLATE_LESS" = binary::LESS,
        "ABLATE_GREATER" = binary::GREATER, "ABLATE_LESS_EQUAL" = binary::LESS_EQUAL,
        "ABLATE_GREATER_EQUAL" = binary::GREATER_EQUAL, "ABLATE_EQUAL" = binary::EQUAL,
        "ABLATE_NOT_EQUAL" = binary::NOT_EQUAL, "ABLATE_POW" = binary::POW,
        "ABLATE_REDUCE_SUM" = reduce::SUM, "ABLATE_REDUCE_MEAN" = reduce::MEAN,
        "ABLATE_REDUCE_MAX" = reduce::MAX, "ABLATE_REDUCE_VARIANCE" = reduce::VARIANCE,
    );
    out.push_str("int main(void) {\n");
    texts!(out:
        "ABLATE_OBJECTIVE_API" = OBJECTIVE_API, "ABLATE_OPTIMIZER_API" = OPTIMIZER_API,
        "ABLATE_STOPPING_API" = STOPPING_API, "ABLATE_RANDOM_API" = RANDOM_API,
        "ABLATE_DECLARE_API" = DECLARE_API, "ABLATE_BATCH_API" = BATCH_API,
        "ABLATE_MODEL_API" = MODEL_API, "ABLATE_GRAPH_API" = GRAPH_API,
        "ABLATE_PRETRAINED_API" = PRETRAINED_API,
        "ABLATE_SCHEDULE_API" = SCHEDULE_API, "ABLATE_OPERATOR_API" = OPERATOR_API,
        "ABLATE_COLUMN_ID" = column::ID, "ABLATE_COLUMN_TEXT" = column::TEXT,
        "ABLATE_NUMBER_BATCH" = model_number::BATCH, "ABLATE_NUMBER_SEQ" = model_number::SEQ,
        "ABLATE_NUMBER_PREDICTIONS" = model_number::PREDICTIONS,
        "ABLATE_NUMBER_TRAINING" = model_number::TRAINING,
        "ABLATE_NUMBER_VOCAB_SIZE" = model_number::VOCAB_SIZE,
        "ABLATE_NUMBER_HIDDEN_SIZE" = model_number::HIDDEN_SIZE,
        "ABLATE_NUMBER_LAYER_NORM_EPS" = model_number::LAYER_NORM_EPS,
        "ABLATE_NUMBER_HIDDEN_DROPOUT" = model_number::HIDDEN_DROPOUT,
        "ABLATE_NUMBER_ATTENTION_DROPOUT" = model_number::ATTENTION_DROPOUT,
        "ABLATE_TENSOR_HIDDEN" = model_tensor::HIDDEN,
        "ABLATE_TENSOR_POOLED" = model_tensor::POOLED,
        "ABLATE_TENSOR_WORD_EMBEDDINGS" = model_tensor::WORD_EMBEDDINGS,
        "ABLATE_TENSOR_ATTENTION_MASK" = model_tensor::ATTENTION_MASK,
    );
    writeln!(
        out,
        "  const ablate_plugin *(*entry)(uint32_t, uint32_t) = {ENTRY_SYMBOL};"
    )
    .unwrap();
    out.push_str("  return entry == 0;\n}\n");
    out.push_str("const ablate_plugin *ablate_plugin_entry(uint32_t a, uint32_t b) { (void)a; (void)b; return 0; }\n");
    out
}

fn build(source: &str) -> std::process::Output {
    let folder = folder("layout");
    let (file, program) = (folder.join("layout.c"), folder.join("layout"));
    std::fs::write(&file, source).unwrap();
    let arguments = [file.to_str().unwrap(), "-o", program.to_str().unwrap()];
    compile("cc", "-std=c11", &arguments)
        .expect("`cc` runs; a C compiler is needed to build Rust programs anyway")
}

#[test]
fn the_c_header_and_the_rust_types_agree() {
    let source = c_source();
    let built = build(&source);
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let ran = Command::new(folder("layout").join("layout"))
        .status()
        .unwrap();
    assert!(
        ran.success(),
        "the text on line {:?} of layout.c differs",
        ran.code()
    );

    // The check itself must be able to fail.
    let wrong = source.replacen(
        "_Static_assert(sizeof(ablate_str) == 16",
        "_Static_assert(sizeof(ablate_str) == 24",
        1,
    );
    assert_ne!(wrong, source);
    assert!(!build(&wrong).status.success());
}

/// Every struct, constant and text of the header is looked at above.
#[test]
fn nothing_of_the_header_is_forgotten() {
    let source = c_source();
    let header = std::fs::read_to_string(crate::header()).unwrap();
    let mut names: Vec<String> = header
        .lines()
        .filter_map(|line| line.strip_prefix("struct ")?.strip_suffix(" {"))
        .map(|name| format!("sizeof({name})"))
        .map(|name| name.replace("(Arrow", "(struct Arrow"))
        .collect();
    names.extend(
        header
            .lines()
            .filter_map(|line| line.trim_start().split_once(" = "))
            .filter(|(name, _)| name.starts_with("ABLATE_"))
            .map(|(name, _)| format!("({name} == ")),
    );
    names.extend(
        header
            .lines()
            .filter_map(|line| line.strip_prefix("#define ABLATE_")?.split_once(" \""))
            .map(|(name, _)| format!("(ABLATE_{name}, ")),
    );
    assert!(names.len() > 100, "the header was read: {names:?}");
    let forgotten: Vec<_> = names
        .iter()
        .filter(|n| !source.contains(n.as_str()))
        .collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}
