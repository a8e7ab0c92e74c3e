//! The encoder's graph: declared parameters, shapes, streams, scopes, refusals.

use std::collections::{BTreeMap, BTreeSet};

use ablate_bert::{
    encoder_parameters, initial_values, pooler_parameters, Activation, BertConfig, BertError,
    Encoder, Init, ParameterSpec, WORD_EMBEDDINGS,
};
use ablate_graph::ir::Op;
use ablate_graph::{Feeds, Graph, LoadKind, RandomKey};

fn config() -> BertConfig {
    BertConfig {
        vocab_size: 11,
        hidden_size: 6,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 8,
        max_position_embeddings: 7,
        ..BertConfig::default()
    }
}

/// Streams and scopes of a built encoder that an output keeps alive.
fn leaves(training: bool, config: &BertConfig) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut g = Graph::new();
    let mut encoder = Encoder::build(&mut g, config, 2, 5, training).unwrap();
    let pooled = encoder.pooled(&mut g).unwrap();
    g.output("pooled", &pooled).unwrap();
    let lowered = g.lower().unwrap();
    let streams = lowered
        .nodes
        .iter()
        .filter_map(|n| match &n.op {
            Op::Load(LoadKind::Uniform { stream }) => Some(stream.to_string()),
            _ => None,
        })
        .collect();
    let scopes = lowered.nodes.iter().map(|n| n.scope.to_string()).collect();
    (streams, scopes)
}

#[test]
fn it_declares_what_the_lists_say_in_their_order() {
    let config = config();
    let mut g = Graph::new();
    let mut encoder = Encoder::build(&mut g, &config, 2, 5, true).unwrap();
    assert_eq!(encoder.parameters(), encoder_parameters(&config));
    assert_eq!(encoder.hidden().shape(), [2, 5, 6]);
    assert_eq!(encoder.hidden_states().len(), 3);
    assert_eq!(encoder.word_embeddings().shape(), [11, 6]);

    // The pooler appears when it is asked for, once.
    let pooled = encoder.pooled(&mut g).unwrap();
    assert_eq!(pooled.shape(), [2, 6]);
    assert_eq!(encoder.pooled(&mut g).unwrap().node(), pooled.node());
    let all = [encoder_parameters(&config), pooler_parameters(&config)].concat();
    assert_eq!(encoder.parameters(), all);
    for spec in &all {
        assert_eq!(encoder.parameter(&spec.name).unwrap().shape(), spec.shape);
    }
    let in_graph: Vec<&str> = g.parameters().iter().map(|(n, _)| n.as_str()).collect();
    let wanted: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(in_graph, wanted);
    assert!(encoder.parameter("cls.predictions.bias").is_none());
}

#[test]
fn every_dropout_has_its_stream_and_only_in_training() {
    let mut wanted = BTreeSet::from(["dropout/embeddings".to_string()]);
    for n in 0..2 {
        for site in ["attention_probs", "attention_output", "ffn_output"] {
            wanted.insert(format!("dropout/layer.{n}.{site}"));
        }
    }
    let (streams, scopes) = leaves(true, &config());
    assert_eq!(streams, wanted);
    for scope in [
        "embeddings",
        "encoder.layer.0.attention",
        "encoder.layer.1.ffn",
        "pooler",
    ] {
        assert!(scopes.contains(scope), "{scope} not in {scopes:?}");
    }
    assert!(leaves(false, &config()).0.is_empty());

    // Each rate governs its own sites.
    let hidden_only = BertConfig {
        attention_probs_dropout_prob: 0.0,
        ..config()
    };
    let (streams, _) = leaves(true, &hidden_only);
    assert_eq!(streams.len(), 5);
    assert!(streams.iter().all(|s| !s.contains("probs")));
}

#[test]
fn impossible_models_are_refused_before_any_node() {
    let mut g = Graph::new();
    let before = g.node_count();
    let odd = BertConfig {
        num_attention_heads: 4,
        ..config()
    };
    let error = Encoder::build(&mut g, &odd, 2, 5, true).unwrap_err();
    assert!(matches!(error, BertError::Config { .. }), "{error}");
    let error = Encoder::build(&mut g, &config(), 2, 8, true).unwrap_err();
    assert!(
        matches!(error, BertError::Sequence { seq: 8, limit: 7 }),
        "{error}"
    );
    assert_eq!(g.node_count(), before);
    let error = Encoder::build(&mut g, &config(), 0, 5, true).unwrap_err();
    assert!(matches!(error, BertError::Graph(_)), "{error}");

    let mut g = Graph::new();
    g.parameter(WORD_EMBEDDINGS, &[1]).unwrap();
    let error = Encoder::build(&mut g, &config(), 2, 5, true).unwrap_err();
    assert!(error.to_string().contains("word_embeddings"), "{error}");
}

fn states(specs: &[ParameterSpec]) -> BTreeMap<String, Vec<f64>> {
    let init = Init::Normal { std: 0.3 };
    let value = |s: &ParameterSpec| initial_values(s, &init, 1).into_iter().map(f64::from);
    specs
        .iter()
        .map(|s| (s.name.clone(), value(s).collect()))
        .collect()
}

/// The last hidden state of two rows, of which the second has `ids` after its first two tokens.
fn hidden(ids: [f32; 3], mask: [f32; 10]) -> Vec<f64> {
    let mut g = Graph::new();
    let encoder = Encoder::build(&mut g, &config(), 2, 5, false).unwrap();
    g.output("hidden", encoder.hidden()).unwrap();
    let row = [2.0, 5.0, 6.0, 7.0, 3.0, 2.0, 8.0];
    let feeds = Feeds::new()
        .with("input_ids", [&row[..], &ids[..]].concat())
        .with("token_type_ids", vec![0.0; 10])
        .with("attention_mask", mask.to_vec());
    let result = g.run_f64(&feeds, &states(encoder.parameters()), RandomKey::default());
    result.unwrap().outputs["hidden"].clone()
}

#[test]
fn padding_is_invisible_to_attended_tokens_and_to_other_rows() {
    let mask = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    let (a, b) = (hidden([0.0; 3], mask), hidden([9.0, 4.0, 1.0], mask));
    // Row 0 whole and the first two tokens of row 1: bit for bit.
    assert_eq!(a[..42], b[..42]);
    assert_ne!(a[42..], b[42..]);
    // What is attended to is seen, by every token of the row and by no other row.
    let all = hidden([9.0, 4.0, 1.0], [1.0; 10]);
    assert_eq!(all[..30], b[..30]);
    for (x, y) in all[30..42].iter().zip(&b[30..42]) {
        assert_ne!(x, y);
    }
}

#[test]
fn a_row_without_any_token_stays_finite() {
    let mut mask = [1.0; 10];
    mask[5..].fill(0.0);
    assert!(hidden([0.0; 3], mask).iter().all(|x| x.is_finite()));
}

#[test]
fn a_loss_on_the_pooled_token_reaches_every_parameter() {
    let mut g = Graph::new();
    let mut encoder = Encoder::build(&mut g, &config(), 2, 5, true).unwrap();
    let pooled = encoder.pooled(&mut g).unwrap();
    let loss = g.sum(&pooled, &[0, 1], false).unwrap();
    let parameters: Vec<_> = g.parameters().iter().map(|(_, t)| t.clone()).collect();
    assert_eq!(g.gradients(&loss, &parameters).unwrap().len(), 39);
}

const GELU: [f64; 5] = [-0.004049694, -0.154268769, 0.0, 0.530625443, 1.954499736];
const GELU_TANH: [f64; 5] = [-0.003637392, -0.15428599, 0.0, 0.530570135, 1.954597694];
const QUICK_GELU: [f64; 5] = [-0.01807131, -0.149611563, 0.0, 0.536893952, 1.935658623];
const SILU: [f64; 5] = [-0.14227762, -0.188770334, 0.0, 0.467731441, 1.761594156];

#[test]
fn activations_have_their_values() {
    // From torch.nn.functional in f64 at -3, -0.5, 0, 0.7 and 2.
    let points = [-3.0, -0.5, 0.0, 0.7, 2.0];
    for activation in Activation::ALL {
        let wanted = match activation {
            Activation::Gelu => GELU,
            Activation::GeluNew | Activation::GeluPytorchTanh | Activation::GeluFast => GELU_TANH,
            Activation::QuickGelu => QUICK_GELU,
            Activation::Relu => [0.0, 0.0, 0.0, 0.7, 2.0],
            Activation::Silu | Activation::Swish => SILU,
            Activation::Tanh => points.map(f64::tanh),
            Activation::Sigmoid => points.map(|x| 1.0 / (1.0 + (-x).exp())),
        };
        let mut g = Graph::new();
        let x = g.input("x", &[5]).unwrap();
        let y = activation.apply(&mut g, &x).unwrap();
        g.output("y", &y).unwrap();
        let feeds = Feeds::new().with("x", points.map(|x| x as f32).to_vec());
        let result = g.run_f64(&feeds, &BTreeMap::new(), RandomKey::default());
        let found = &result.unwrap().outputs["y"];
        for (f, w) in found.iter().zip(wanted) {
            // 1e-6: the approximation of erf, and 0.7 as f32.
            assert!((f - w).abs() < 1e-6, "{activation:?}: {f} {w}");
        }
    }
}
