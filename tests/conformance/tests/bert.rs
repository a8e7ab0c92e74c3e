//! BERT, forward and backward: which kernels it becomes, and that they are right.

use ablate_bert::{dense, layer_norm, BertConfig, Encoder, Parameters};
use ablate_compiler::program::Kernel;
use ablate_compiler::{compile, Program};
use ablate_conformance::{check, check_norms, numbers, Case};
use ablate_cpu::{CpuBackend, Precision};
use ablate_graph::GraphError;

const BATCH: usize = 3;
const SEQ: usize = 10;
const VOCAB: usize = 31;
const PREDICTIONS: usize = 7;

fn config(layers: usize) -> BertConfig {
    let mut config = BertConfig::preset("tiny").expect("a preset");
    config.vocab_size = VOCAB;
    config.hidden_size = 12;
    config.num_attention_heads = 3;
    config.intermediate_size = 20;
    config.num_hidden_layers = layers;
    config.max_position_embeddings = 16;
    config
}

/// Encoder with dropout, both heads, the summed loss and every gradient.
fn bert(layers: usize) -> Result<Case, GraphError> {
    let config = config(layers);
    let mut case = Case::default();
    let positions = case.index("positions", &[PREDICTIONS], BATCH * SEQ)?;
    let labels = case.index("labels", &[PREDICTIONS], VOCAB)?;
    let next = case.index("next", &[BATCH], 2)?;
    let g = &mut case.graph;
    let mut encoder = Encoder::build(g, &config, BATCH, SEQ, true).expect("a valid configuration");
    let mut heads = Parameters::default();
    let x = g.reshape(encoder.hidden(), &[BATCH * SEQ, 12])?;
    let x = g.gather(&x, &positions)?;
    let x = dense(g, &mut heads, "transform", &x, 12)?;
    let x = g.gelu(&x)?;
    let x = layer_norm(g, &mut heads, "norm", &x, 1e-12)?;
    let bias = g.parameter("bias", &[VOCAB])?;
    let logits = g.linear(&x, encoder.word_embeddings(), Some(&bias))?;
    let mlm = g.cross_entropy(&logits, &labels, None)?;
    let mlm = g.sum_all(&mlm)?;
    let pooled = encoder.pooled(g).expect("a pooler");
    let logits = dense(g, &mut heads, "next_sentence", &pooled, 2)?;
    let nsp = g.cross_entropy(&logits, &next, None)?;
    let nsp = g.sum_all(&nsp)?;
    let loss = g.add(&mlm, &nsp)?;
    case.output(&loss)?;
    let shapes: Vec<(String, usize)> = case
        .graph
        .parameters()
        .iter()
        .map(|(name, t)| (name.clone(), t.shape().iter().product()))
        .collect();
    for (name, count) in shapes {
        let mut values = numbers(&name, count);
        if name.ends_with("LayerNorm.weight") || name == "norm.weight" {
            values.iter_mut().for_each(|v| *v = 1.0 + 0.2 * *v);
        }
        case.states.insert(name, values);
    }
    case.gradients(&loss)?;
    let ids = (0..BATCH * SEQ).map(|i| (i * 7 % VOCAB) as f32).collect();
    case.feeds.set("input_ids", ids);
    let types = (0..BATCH * SEQ)
        .map(|i| if i % SEQ > 5 { 1.0 } else { 0.0 })
        .collect();
    case.feeds.set("token_type_ids", types);
    let mask = (0..BATCH * SEQ)
        .map(|i| if i % SEQ < 8 { 1.0 } else { 0.0 })
        .collect();
    case.feeds.set("attention_mask", mask);
    Ok(case)
}

fn program(layers: usize) -> Program {
    let case = bert(layers).expect("builds");
    compile(&case.graph.lower().expect("lowers")).expect("compiles")
}

#[test]
fn compiled_bert_follows_the_f64_evaluation_with_every_gradient() {
    let backend = CpuBackend::new(2).expect("threads");
    check(&backend, bert(2).expect("builds"), 5e-5).expect("runs");
}

/// Operands of products are rounded to eight bits of mantissa; gradients are off by a few of their units.
#[test]
fn bert_with_bfloat16_operands_stays_near() {
    for backend in [
        CpuBackend::new(2).expect("threads"),
        CpuBackend::new(1).expect("one thread").avx2(),
        CpuBackend::new(1).expect("one thread").portable(),
    ] {
        let backend = backend.with_precision(Precision::Bf16);
        check_norms(&backend, bert(2).expect("builds"), 4e-2).expect("runs");
    }
}

/// What one more layer adds, by phase and kind.
fn per_layer(phase: &str, kinds: &[&'static str]) -> usize {
    let (two, three) = (program(2).counts(), program(3).counts());
    let count = |counts: &std::collections::BTreeMap<(String, &'static str), usize>| -> usize {
        kinds
            .iter()
            .filter_map(|k| counts.get(&(phase.to_string(), *k)))
            .sum()
    };
    count(&three) - count(&two)
}

const FUSED: &[&str] = &[
    "row",
    "column",
    "elementwise",
    "copy",
    "uniform",
    "gather",
    "scatter",
];

#[test]
fn an_encoder_layer_is_as_few_kernels_as_it_can_be() {
    // Forward: query, key, value, scores, context, output, two of the feed-forward network; their
    // gradients by weight and by input are twice as many.
    assert_eq!(per_layer("forward", &["gemm"]), 8, "{}", program(3));
    assert_eq!(per_layer("backward", &["gemm"]), 16, "{}", program(3));
    // Forward: three biases, softmax with dropout, GELU, and twice bias + dropout + residual + layer
    // norm. Only a product's own epilogue could take the biases in.
    assert!(per_layer("forward", FUSED) <= 7, "{}", program(3));
    // Backward: two layer norms, GELU, softmax, the three bias gradients of query, key and value;
    // every other bias and scale gradient is summed by the kernel that makes its terms.
    assert!(per_layer("backward", FUSED) <= 7, "{}", program(3));
}

#[test]
fn every_contraction_is_a_product_and_every_look_up_a_gather() {
    let program = program(2);
    // A contraction left over would be a row kernel over rows x columns x summed axis: more elements
    // than any tensor of the model has.
    let largest = [
        BATCH * SEQ * 20,
        BATCH * 3 * SEQ * SEQ,
        PREDICTIONS * VOCAB,
        VOCAB * 12,
    ];
    let largest = largest.into_iter().max().unwrap_or(0);
    let count = |kind: &str| {
        program
            .steps
            .iter()
            .filter(|s| s.kernel.kind() == kind)
            .count()
    };
    for step in &program.steps {
        if let Kernel::Row(kernel) = &step.kernel {
            assert!(
                kernel.rows * kernel.cols <= largest,
                "{}\n{program}",
                step.scope
            );
        }
    }
    // Words, segments, masked positions; and each one's transpose.
    assert_eq!((count("gather"), count("scatter")), (3, 3), "{program}");
    // No operand had to be packed, no result copied.
    assert_eq!(count("copy"), 0, "{program}");
}
