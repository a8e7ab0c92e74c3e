//! Attention runs block by block: the score matrix is nowhere in memory, and the bits are those of one step
//! after the other.

use ablate_bert::{BertConfig, Encoder, Layout};
use ablate_compiler::program::{Kernel, Place};
use ablate_compiler::{compile_with, Backend, Program, Storage};
use ablate_conformance::{check_norms, check_same_bits, numbers, Case};
use ablate_cpu::{CpuBackend, Precision};
use ablate_graph::GraphError;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// A model in which attention is larger than its operands together.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    seq: usize,
    heads: usize,
    head: usize,
    packed: bool,
    dropout: bool,
}

impl Sizes {
    /// Rows of the grid that the encoder works on.
    fn rows(&self) -> usize {
        if self.packed {
            self.batch.div_ceil(2)
        } else {
            self.batch
        }
    }

    /// Elements of a score matrix.
    fn scores(&self) -> usize {
        self.rows() * self.heads * self.seq * self.seq
    }
}

/// An encoder of two layers with the sum of its weighted hidden states as loss, and every gradient.
fn encoder(sizes: Sizes) -> Result<Case, GraphError> {
    let mut config = BertConfig::preset("tiny").expect("a preset");
    config.vocab_size = 29;
    config.hidden_size = sizes.heads * sizes.head;
    config.num_attention_heads = sizes.heads;
    config.intermediate_size = 3 * config.hidden_size;
    config.num_hidden_layers = 2;
    config.max_position_embeddings = sizes.seq;
    let mut case = Case::default();
    let layout = match sizes.packed {
        true => Layout::Packed { rows: sizes.rows() },
        false => Layout::Padded,
    };
    let g = &mut case.graph;
    let built = Encoder::build_in(g, &config, sizes.batch, sizes.seq, layout, sizes.dropout)
        .expect("a valid model");
    let weight = g.parameter("weight", &[config.hidden_size])?;
    let hidden = built.hidden().clone();
    let weighted = g.mul(&hidden, &weight)?;
    let loss = g.sum_all(&weighted)?;
    case.output(&loss)?;
    for (name, tensor) in case.graph.parameters() {
        let values = numbers(name, tensor.shape().iter().product());
        case.states.insert(name.clone(), values);
    }
    case.gradients(&loss)?;
    feed(&mut case, sizes);
    Ok(case)
}

/// Examples of half the length, side by side in a packed row; every third token is masked away in a padded one.
fn feed(case: &mut Case, sizes: Sizes) {
    let (cells, seq) = (sizes.rows() * sizes.seq, sizes.seq);
    let tokens = sizes.batch * seq;
    let each = |count: usize, f: &dyn Fn(usize) -> usize| -> Vec<f32> {
        (0..count).map(|i| f(i) as f32).collect()
    };
    let half = seq.div_ceil(2);
    let feeds = &mut case.feeds;
    feeds.set("input_ids", each(cells, &|i| i * 7 % 29));
    feeds.set("token_type_ids", each(cells, &|i| usize::from(i % seq > 2)));
    if !sizes.packed {
        feeds.set(
            "attention_mask",
            each(cells, &|i| usize::from(i % seq % 3 < 2)),
        );
        return;
    }
    feeds.set("position_ids", each(cells, &|i| i % seq % half));
    feeds.set(
        "example_index",
        each(cells, &|i| (1 + i % seq / half).min(sizes.batch)),
    );
    // The place of each token of the batch in the grid; one past it for none.
    let place = |example: usize, token: usize| {
        let at = example % 2 * half + token;
        let inside = token < half && at < seq;
        if inside {
            example / 2 * seq + at
        } else {
            cells
        }
    };
    feeds.set(
        "token_positions",
        each(tokens, &|i| place(i / seq, i % seq)),
    );
    feeds.set("first_positions", each(sizes.batch, &|i| place(i, 0)));
}

fn program(sizes: Sizes) -> Program {
    program_with(sizes, Storage::F32)
}

fn program_with(sizes: Sizes, activations: Storage) -> Program {
    let case = encoder(sizes).expect("builds");
    compile_with(&case.graph.lower().expect("lowers"), activations).expect("compiles")
}

const SIZES: Sizes = Sizes {
    batch: 4,
    seq: 13,
    heads: 3,
    head: 6,
    packed: false,
    dropout: true,
};

/// Scores are long enough to be stored rounded.
const LONG: Sizes = Sizes {
    batch: 3,
    seq: 37,
    heads: 2,
    head: 17,
    packed: false,
    dropout: true,
};

const STORED: [Storage; 2] = [Storage::F32, Storage::Bf16];

#[test]
fn scores_and_probabilities_have_no_place_in_memory() {
    let all = [SIZES, LONG]
        .into_iter()
        .flat_map(|s| [false, true].map(|packed| Sizes { packed, ..s }))
        .flat_map(|s| STORED.map(|storage| (s, storage)));
    for (sizes, storage) in all {
        let program = program_with(sizes, storage);
        // Forward and backward of two layers.
        assert_eq!(program.groups.len(), 4, "{program}");
        let blocks = sizes.rows() * sizes.heads;
        assert!(
            program.groups.iter().all(|g| g.blocks == blocks),
            "{program}"
        );
        let local = |b: usize| {
            let mut groups = program.groups.iter();
            groups.any(|g| g.locals.iter().any(|l| l.buffer == b))
        };
        let used = program.steps.iter().flat_map(|s| s.kernel.writes());
        for buffer in used {
            let whole = program.buffers[buffer].len == sizes.scores();
            assert_eq!(whole, local(buffer), "buffer {buffer}\n{program}");
            // Long ones are read by products, or written by one.
            if local(buffer) && sizes.seq == LONG.seq {
                assert_eq!(program.buffers[buffer].storage, storage, "{program}");
            }
            // What is in memory lies in the shorter arena, what is local need not.
            if let Place::Arena { offset } = program.buffers[buffer].place {
                let end = offset + program.buffers[buffer].words();
                assert!(local(buffer) || end <= program.arena_len_in_blocks);
            }
        }
        assert!(program.arena_len_in_blocks < program.arena_len, "{program}");
    }
}

#[test]
fn a_group_is_the_attention_of_a_layer() {
    for (sizes, storage) in [(SIZES, STORED[0]), (LONG, STORED[0]), (LONG, STORED[1])] {
        has_groups_of_attention(&program_with(sizes, storage));
    }
}

fn has_groups_of_attention(program: &Program) {
    let kinds = |group: &ablate_compiler::program::Group| -> (usize, usize) {
        let steps = &program.steps[group.steps.clone()];
        let products = steps
            .iter()
            .filter(|s| matches!(s.kernel, Kernel::Gemm { .. }));
        let products = products.count();
        (products, steps.len() - products)
    };
    let found: Vec<(usize, usize)> = program.groups.iter().map(kinds).collect();
    // Scores, softmax, context; backward scores again, gradients of probabilities, values, queries, keys.
    assert_eq!(found, [(2, 1), (2, 1), (5, 1), (5, 1)], "{program}");
}

/// What a product that the backward makes again costs is not counted as work of the model.
#[test]
fn products_that_are_made_again_count_once() {
    let small = Sizes { seq: 5, ..SIZES };
    let count = |p: &Program| p.steps.iter().filter(|s| s.kernel.kind() == "gemm").count();
    let (plain, again) = (program(small), program(SIZES));
    // Five positions of six columns: the scores are smaller than queries and keys and are kept.
    assert_eq!(count(&again), count(&plain) + 2, "{again}");
    let attention = |s: usize| {
        let all = 2 * SIZES.batch * SIZES.heads * s * s * SIZES.head * 2;
        all as f64 * 6.0
    };
    let per_token = |p: &Program, s: usize| (p.flops() - attention(s)) / s as f64;
    let (a, b) = (per_token(&plain, 5), per_token(&again, SIZES.seq));
    assert!((a / b - 1.0).abs() < 1e-3, "{a} {b}");
}

fn same(backend: CpuBackend, sizes: Sizes) -> Result<(), ablate_compiler::BackendError> {
    let plain = backend.clone().step_by_step();
    check_same_bits(&plain, &backend, || encoder(sizes))
}

#[test]
fn blocks_have_the_bits_of_whole_steps() {
    let with = |threads| CpuBackend::new(threads).expect("threads");
    let in_precision = |threads, precision| with(threads).with_precision(precision);
    let bf16 = |threads| in_precision(threads, Precision::Bf16);
    let split = |threads| in_precision(threads, Precision::F32Split);
    for sizes in [
        SIZES,
        Sizes {
            packed: true,
            ..SIZES
        },
        LONG,
        Sizes {
            packed: true,
            ..LONG
        },
    ] {
        for backend in [
            with(1),
            with(2),
            with(2).avx2(),
            with(2).portable(),
            with(2).interpreted(),
            bf16(1),
            bf16(2),
            bf16(2).without_amx(),
            bf16(2).avx2(),
            bf16(2).portable(),
            bf16(2).interpreted(),
            bf16(1).with_emulated_amx(),
            bf16(2).with_emulated_amx(),
            split(2),
            split(2).without_amx(),
            split(2).with_emulated_amx(),
        ] {
            let description = backend.description();
            same(backend, sizes).unwrap_or_else(|e| panic!("{description}, {sizes:?}: {e}"));
        }
        // One thread has the bits of two.
        check_same_bits(&with(1), &with(2), || encoder(sizes)).expect("runs");
        check_same_bits(&bf16(1), &bf16(2), || encoder(sizes)).expect("runs");
        check_same_bits(&split(1), &split(2), || encoder(sizes)).expect("runs");
    }
}

/// Scores, probabilities and their gradients are rounded to eight bits when they are made, once each.
#[test]
fn rounded_scores_stay_near() {
    for packed in [false, true] {
        let sizes = Sizes { packed, ..LONG };
        let with = |threads| {
            let backend = CpuBackend::new(threads).expect("threads");
            backend.with_precision(Precision::Bf16)
        };
        for backend in [
            with(2),
            with(1).avx2(),
            with(1).portable(),
            with(2).with_emulated_amx(),
        ] {
            let case = encoder(sizes).expect("builds");
            check_norms(&backend, case, 5e-2)
                .unwrap_or_else(|e| panic!("{}: {e}", backend.description()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

    #[test]
    fn random_shapes_have_the_bits_of_whole_steps(
        batch in 1usize..6,
        seq in 2usize..40,
        heads in 1usize..4,
        head in 1usize..20,
        packed in any::<bool>(),
        dropout in any::<bool>(),
        threads in 1usize..3,
        bf16 in any::<bool>(),
    ) {
        let sizes = Sizes { batch, seq, heads, head, packed, dropout };
        let precision = if bf16 { Precision::Bf16 } else { Precision::F32 };
        let backend = CpuBackend::new(threads).expect("threads").with_precision(precision);
        same(backend, sizes).unwrap_or_else(|e| panic!("{sizes:?}: {e}"));
    }
}
