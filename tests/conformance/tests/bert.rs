//! BERT, forward and backward: which kernels it becomes, and that they are right.

use ablate_bert::{dense, layer_norm, BertConfig, Encoder, Layout, Parameters};
use ablate_compiler::program::Kernel;
use ablate_compiler::{compile, Program};
use ablate_conformance::{check, check_norms, numbers, Case};
use ablate_cpu::{CpuBackend, Precision};
use ablate_graph::{Feeds, GraphError};

const BATCH: usize = 3;
const SEQ: usize = 10;
const VOCAB: usize = 31;
const PREDICTIONS: usize = 7;

/// Rows of the packed grid, and the examples of the batch in each: one of full length, and two that
/// leave one place free.
const PACKED: [&[(usize, usize)]; 2] = [&[(1, 10)], &[(0, 4), (2, 5)]];
const LAYOUT: Layout = Layout::Packed { rows: PACKED.len() };

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
fn bert(layers: usize, layout: Layout) -> Result<Case, GraphError> {
    let config = config(layers);
    let mut case = Case::default();
    let positions = case.index("positions", &[PREDICTIONS], BATCH * SEQ)?;
    let labels = case.index("labels", &[PREDICTIONS], VOCAB)?;
    let next = case.index("next", &[BATCH], 2)?;
    let g = &mut case.graph;
    let mut encoder =
        Encoder::build_in(g, &config, BATCH, SEQ, layout, true).expect("a valid model");
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
    match layout {
        Layout::Padded => padded_feeds(&mut case.feeds),
        Layout::Packed { .. } => packed_feeds(&mut case.feeds),
    }
    Ok(case)
}

fn id(token: usize) -> f32 {
    (token * 7 % VOCAB) as f32
}

fn padded_feeds(feeds: &mut Feeds) {
    feeds.set("input_ids", (0..BATCH * SEQ).map(id).collect());
    let types = (0..BATCH * SEQ)
        .map(|i| if i % SEQ > 5 { 1.0 } else { 0.0 })
        .collect();
    feeds.set("token_type_ids", types);
    let mask = (0..BATCH * SEQ)
        .map(|i| if i % SEQ < 8 { 1.0 } else { 0.0 })
        .collect();
    feeds.set("attention_mask", mask);
}

fn packed_feeds(feeds: &mut Feeds) {
    let cells = PACKED.len() * SEQ;
    let [mut ids, mut types, mut places, mut examples] = [(); 4].map(|()| vec![0.0; cells]);
    let mut tokens = vec![cells as f32; BATCH * SEQ];
    for (row, examples_of_row) in PACKED.iter().enumerate() {
        let mut at = row * SEQ;
        for &(example, length) in *examples_of_row {
            for place in 0..length {
                let token = example * SEQ + place;
                ids[at] = id(token);
                types[at] = if place > 2 { 1.0 } else { 0.0 };
                places[at] = place as f32;
                examples[at] = (example + 1) as f32;
                tokens[token] = at as f32;
                at += 1;
            }
        }
    }
    let first = (0..BATCH).map(|example| tokens[example * SEQ]).collect();
    feeds.set("input_ids", ids);
    feeds.set("token_type_ids", types);
    feeds.set("position_ids", places);
    feeds.set("example_index", examples);
    feeds.set("token_positions", tokens);
    feeds.set("first_positions", first);
}

fn program(layers: usize, layout: Layout) -> Program {
    let case = bert(layers, layout).expect("builds");
    compile(&case.graph.lower().expect("lowers")).expect("compiles")
}

const LAYOUTS: [Layout; 2] = [Layout::Padded, LAYOUT];

#[test]
fn compiled_bert_follows_the_f64_evaluation_with_every_gradient() {
    let backend = CpuBackend::new(2).expect("threads");
    for layout in LAYOUTS {
        check(&backend, bert(2, layout).expect("builds"), 5e-5).expect("runs");
    }
}

/// Operands of products are rounded to eight bits of mantissa; gradients are off by a few of their units.
#[test]
fn bert_with_bfloat16_operands_stays_near() {
    for backend in [
        CpuBackend::new(2).expect("threads"),
        CpuBackend::new(1).expect("one thread").avx2(),
        CpuBackend::new(1).expect("one thread").portable(),
        CpuBackend::new(2).expect("threads").with_emulated_amx(),
    ] {
        let backend = backend.with_precision(Precision::Bf16);
        check_norms(&backend, bert(2, Layout::Padded).expect("builds"), 4e-2).expect("runs");
    }
}

/// Sixteen bits of mantissa instead of eight: a hundred times nearer, by every path.
#[test]
fn bert_with_split_operands_follows_the_f64_evaluation() {
    let with = |threads| {
        let backend = CpuBackend::new(threads).expect("threads");
        backend.with_precision(Precision::F32Split)
    };
    for backend in [
        with(2),
        with(2).without_amx(),
        with(1).portable(),
        with(2).with_emulated_amx(),
    ] {
        for layout in LAYOUTS {
            let case = bert(2, layout).expect("builds");
            check_norms(&backend, case, 5e-4).expect("runs");
        }
    }
}

/// What one more layer adds, by phase and kind.
fn per_layer(layout: Layout, phase: &str, kinds: &[&'static str]) -> usize {
    let (two, three) = (program(2, layout).counts(), program(3, layout).counts());
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
    for layout in LAYOUTS {
        let program = program(3, layout);
        // Forward: query, key, value, scores, context, output, two of the feed-forward network; their
        // gradients by weight and by input are twice as many. The backward makes the scores again.
        assert_eq!(per_layer(layout, "forward", &["gemm"]), 8, "{program}");
        assert_eq!(per_layer(layout, "backward", &["gemm"]), 17, "{program}");
        // Forward: three biases, softmax with dropout, GELU, and twice bias + dropout + residual + layer
        // norm. Only a product's own epilogue could take the biases in.
        assert!(per_layer(layout, "forward", FUSED) <= 4, "{program}");
        // Backward: two layer norms, GELU, softmax, the three bias gradients of query, key and value;
        // every other bias and scale gradient is summed by the kernel that makes its terms.
        assert!(per_layer(layout, "backward", FUSED) <= 7, "{program}");
    }
}

#[test]
fn every_contraction_is_a_product_and_every_look_up_a_gather() {
    for (layout, rows) in LAYOUTS.into_iter().zip([BATCH, PACKED.len()]) {
        let program = program(2, layout);
        // A contraction left over would be a row kernel over rows x columns x summed axis: more
        // elements than any tensor of the model has.
        let largest = [
            BATCH * SEQ * 20,
            rows * 3 * SEQ * SEQ,
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
        // Words, segments, masked positions, and each one's transpose; in a packed grid also
        // positions, the tokens of the batch and the first ones among them.
        let look_ups = if layout == Layout::Padded { 3 } else { 6 };
        let found = (count("gather"), count("scatter"));
        assert_eq!(found, (look_ups, look_ups), "{program}");
        // No operand had to be packed, no result copied.
        assert_eq!(count("copy"), 0, "{program}");
    }
}

#[test]
fn a_block_diagonal_attention_bias_is_never_stored() {
    let buffers = |layout: Layout, len: usize| -> usize {
        let program = program(3, layout);
        program.buffers.iter().filter(|b| b.len == len).count()
    };
    // As large as the scores of all heads: scores, probabilities and their gradients of each layer.
    let scores = |layout: Layout, rows: usize| buffers(layout, rows * 3 * SEQ * SEQ);
    let padded = scores(Layout::Padded, BATCH);
    assert!(padded >= 3 * 2, "{}", program(3, Layout::Padded));
    assert_eq!(
        scores(LAYOUT, PACKED.len()),
        padded,
        "{}",
        program(3, LAYOUT)
    );
    // As large as those of one head, which all could share.
    let shared = buffers(LAYOUT, PACKED.len() * SEQ * SEQ);
    assert_eq!(shared, 0, "{}", program(3, LAYOUT));
    // Nor is it a kernel: what packing adds is look-ups, each in the place of none or one.
    let others = |layout: Layout| {
        let program = program(3, layout);
        let look_up = |kind: &str| kind == "gather" || kind == "scatter";
        let steps = program.steps.iter();
        steps.filter(|s| !look_up(s.kernel.kind())).count()
    };
    assert!(
        others(LAYOUT) <= others(Layout::Padded),
        "{}",
        program(3, LAYOUT)
    );
}
