//! The encoder's graph: declared parameters, shapes, streams, scopes, refusals.

use std::collections::BTreeSet;

use ablate_bert::{
    encoder_parameters, pooler_parameters, BertConfig, BertError, Encoder, WORD_EMBEDDINGS,
};
use ablate_graph::ir::Op;
use ablate_graph::{Graph, LoadKind};

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
