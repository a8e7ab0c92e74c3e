//! Built-in plugins through both doors: linked into the program, and loaded from shared libraries.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use ablate_bert::{BertConfig, Init};
use ablate_compiler::Backend;
use ablate_cpu::CpuBackend;
use ablate_host::{Kind, Origin, Registry};
use ablate_random::Stream;
use ablate_train::{
    BatchSource, CheckpointPolicy, Ending, NamedTensor, Objective, Optimizer, Parts, PreparedBatch,
    SourceError, Split, StoppingRule, TrainEvent, Trainer, TrainerConfig, VocabularyFacts, Window,
    IGNORED,
};
use serde_json::{json, Value};

use crate::support::{ablate, repository, Folder};

const BUILT_INS: [&str; 12] = [
    "mlm",
    "nsp",
    "adamw",
    "sgd",
    "warmup",
    "one-cycle",
    "wsd",
    "max-steps",
    "converged",
    "patience",
    "target-loss",
    "diverged",
];

/// The built-in plugins as shared libraries, built once.
fn libraries() -> &'static [PathBuf] {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/<profile>/deps/<this test>
        let exe = std::env::current_exe().unwrap();
        let products = exe.ancestors().nth(2).unwrap();
        let profile = if products.ends_with("debug") {
            "dev"
        } else {
            "release"
        };
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--offline", "--profile", profile, "--examples"]);
        for name in BUILT_INS {
            cargo.args(["-p", &format!("ablate-{name}")]);
        }
        let output = cargo
            .current_dir(repository())
            .env("CARGO_TARGET_DIR", products.parent().unwrap())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        BUILT_INS
            .iter()
            .map(|name| {
                products.join("examples").join(format!(
                    "{}ablate_{}_plugin{}",
                    std::env::consts::DLL_PREFIX,
                    name.replace('-', "_"),
                    std::env::consts::DLL_SUFFIX
                ))
            })
            .collect()
    })
}

/// The same name twice is refused, both origins named: else it would be chance which one trains.
#[test]
fn a_built_in_is_not_replaced_in_silence() {
    let folder = Folder::new();
    let library = libraries()
        .iter()
        .find(|l| l.to_string_lossy().contains("adamw"))
        .unwrap();
    let library = library.to_str().unwrap();
    folder.variant(
        "double.yaml",
        "device: cpu",
        &format!("device: cpu\nplugins: [{library}]"),
    );
    let done = folder.ablate(&["run", "double.yaml"]).exits(2);
    assert!(done.stderr.contains("double.yaml:4:11"), "{done}");
    assert!(
        done.stderr
            .contains("called `adamw`: one built in, one from"),
        "{done}"
    );
    assert!(done.stderr.contains(library), "{done}");
    assert!(!folder.path("runs").exists());
    let output = ablate(&["plugin", "list", library]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

const VOCABULARY: usize = 60;
const ROWS: usize = 4;
const SEQ: usize = 16;
const STEPS: u64 = 12;

/// Training that stops by itself, every number of it drawn from named streams.
#[test]
fn training_is_the_same_bit_for_bit_through_both_doors() {
    let linked = Registry::with_builtins().unwrap();
    let mut loaded = Registry::new();
    for library in libraries() {
        loaded.load_path(library).unwrap();
    }
    for (kind, name) in [
        (Kind::Objective, "mlm"),
        (Kind::Objective, "nsp"),
        (Kind::Optimizer, "adamw"),
        (Kind::Schedule, "warmup_cosine"),
        (Kind::StoppingRule, "patience"),
    ] {
        let origin = &loaded.find(kind, name).unwrap().origin;
        assert!(matches!(origin, Origin::File { .. }), "{name}: {origin:?}");
        let origin = &linked.find(kind, name).unwrap().origin;
        assert!(!matches!(origin, Origin::File { .. }), "{name}: {origin:?}");
    }
    let (a, b) = (train(&linked), train(&loaded));
    assert_eq!(a.rows, b.rows);
    assert_eq!(a.ending, b.ending);
    assert!(a.ending.contains("max_steps"), "{}", a.ending);
    assert_eq!(a.parameters.len(), b.parameters.len());
    for (a, b) in a.parameters.iter().zip(&b.parameters) {
        assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
        let bits = |t: &NamedTensor| t.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(a) == bits(b), "{} differs", a.name);
    }
    // It did train: a test of two runs that both did nothing would pass, too.
    assert!(a.moved > 0.9, "{} of the parameters moved", a.moved);
}

struct Trained {
    /// Every recorded row without the clock.
    rows: Vec<Value>,
    ending: String,
    parameters: Vec<NamedTensor>,
    /// Share of the parameter tensors that are not what they were.
    moved: f64,
}

fn train(registry: &Registry) -> Trained {
    let objective = |name, config: Value| -> Box<dyn Objective> {
        Box::new(registry.make_objective(name, &config).unwrap())
    };
    let rule = |name, config: Value| -> Box<dyn StoppingRule> {
        Box::new(registry.make_stopping_rule(name, &config).unwrap())
    };
    let optimizer: Box<dyn Optimizer> = Box::new(
        registry
            .make_optimizer("adamw", &json!({"weight_decay": 0.05}))
            .unwrap(),
    );
    let parts = Parts {
        session: CpuBackend::new(1).unwrap().session().unwrap(),
        objectives: vec![
            objective("mlm", json!({"mask_rate": 0.2})),
            objective("nsp", json!({})),
        ],
        optimizer,
        schedule: Box::new(
            registry
                .make_schedule(
                    "warmup_cosine",
                    &json!({"warmup_steps": 3, "total_steps": STEPS}),
                )
                .unwrap(),
        ),
        rules: vec![
            rule("max_steps", json!({"steps": STEPS})),
            rule("patience", json!({"evaluations": 50})),
            rule("converged", json!({"window": 50, "tolerance": 1e-6})),
            rule("diverged", json!({})),
        ],
        source: Box::new(Words { next: 0 }),
    };
    let config = TrainerConfig {
        model: BertConfig {
            vocab_size: VOCABULARY,
            hidden_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 24,
            max_position_embeddings: SEQ,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            ..BertConfig::default()
        },
        init: Init::TruncatedNormal { std: 0.02 },
        initial: Default::default(),
        seed: 7,
        packed: false,
        clip_norm: Some(1.0),
        learning_rate: 1e-2,
        evaluate_every: Some(5),
        metrics: None,
        checkpoint: CheckpointPolicy::default(),
        fingerprint: String::new(),
    };
    let mut trainer = Trainer::new(config, parts).unwrap();
    let before = trainer.tensors().unwrap();
    let mut rows = Vec::new();
    let mut observer = |event: TrainEvent<'_>| {
        if let TrainEvent::Step(row) | TrainEvent::Evaluation(row) = event {
            let mut row = row.to_json();
            row.remove("seconds");
            row.remove("data_seconds");
            rows.push(Value::Object(row));
        }
    };
    let outcome = trainer.run(&mut observer, &AtomicBool::new(false)).unwrap();
    assert!(matches!(outcome.ending, Ending::Stopped { .. }));
    let parameters = trainer.tensors().unwrap();
    let changed = before
        .iter()
        .zip(&parameters)
        .filter(|(a, b)| a != b)
        .count();
    Trained {
        rows,
        ending: format!("{:?}", outcome.ending),
        moved: changed as f64 / parameters.len() as f64,
        parameters,
    }
}

/// Random words in pairs of random segments, the same for the same position.
struct Words {
    next: u64,
}

impl Words {
    fn batch(&self, number: u64) -> PreparedBatch {
        let facts = VocabularyFacts {
            size: VOCABULARY,
            pad_id: 0,
            unknown_id: 1,
            cls_id: 2,
            sep_id: 3,
            mask_id: 4,
            special_ids: (0..5).collect(),
            continuation: vec![false; VOCABULARY],
        };
        let stream = Stream::new(11, "words").child(number);
        let mut words = stream.reader();
        // The last row is padding, and the rows before it are of different lengths.
        let rows = ROWS - 1;
        let cells = ROWS * SEQ;
        let mut batch = PreparedBatch {
            rows,
            batch: ROWS,
            seq: SEQ,
            input_ids: vec![0; cells],
            token_type_ids: vec![0; cells],
            attention_mask: vec![0; cells],
            special_tokens_mask: vec![true; cells],
            next_sentence_label: Some(vec![IGNORED; ROWS]),
            example_ids: vec![0; ROWS],
            row_keys: vec![0; ROWS],
            vocabulary: Arc::new(facts),
            ..PreparedBatch::default()
        };
        for row in 0..rows {
            let length = SEQ - 2 * row;
            for i in 0..length {
                let at = row * SEQ + i;
                let special = i == 0 || i == length / 2 || i + 1 == length;
                batch.input_ids[at] = match i {
                    0 => 2,
                    _ if special => 3,
                    _ => 5 + i64::from(words.below(VOCABULARY as u32 - 5)),
                };
                batch.attention_mask[at] = 1;
                batch.special_tokens_mask[at] = special;
                batch.token_type_ids[at] = i64::from(i > length / 2);
            }
            batch.example_ids[row] = number * ROWS as u64 + row as u64 + 1;
            batch.row_keys[row] = stream.child(row as u64).key();
            if let Some(labels) = &mut batch.next_sentence_label {
                labels[row] = i64::from(words.below(2));
            }
        }
        batch
    }
}

impl BatchSource for Words {
    fn next_window(&mut self) -> Result<Window, SourceError> {
        let batches = vec![self.batch(self.next), self.batch(self.next + 1)];
        self.next += 2;
        Ok(Window { epoch: 0, batches })
    }

    fn cursor(&self) -> Value {
        json!(self.next)
    }

    fn restore(&mut self, cursor: &Value) -> Result<(), SourceError> {
        let next = cursor
            .as_u64()
            .ok_or_else(|| SourceError::new("no cursor"))?;
        self.next = next;
        Ok(())
    }

    fn evaluation(
        &mut self,
        split: Split,
    ) -> Result<Box<dyn Iterator<Item = PreparedBatch> + '_>, SourceError> {
        let numbers = match split {
            Split::Train => 0..0,
            Split::Validation => 1_000_000..1_000_002,
            Split::Test => 2_000_000..2_000_002,
        };
        Ok(Box::new(numbers.map(|n| self.batch(n))))
    }
}
