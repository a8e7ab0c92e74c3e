//! A training step waits for the device once, however many micro-batches it has, and the numbers are those of
//! a trainer that reads them one by one.

use std::sync::atomic::{AtomicBool, Ordering};

use ablate_bench::{parts, Configuration, SyntheticBatches};
use ablate_compiler::{Backend, BackendError, KernelTime, ProgramId, Session, SessionMemory};
use ablate_cpu::CpuBackend;
use ablate_cuda::CudaBackend;
use ablate_graph::{Feeds, Graph, RandomKey};
use ablate_soft_cuda::{installed, is_child, rerun, test_name, Counts};
use ablate_train::{
    BatchSource, Ending, PreparedBatch, SourceError, Split, TrainEvent, Trainer, Window,
};

fn configuration() -> Configuration {
    Configuration {
        layers: 1,
        hidden: 16,
        heads: 2,
        intermediate: 32,
        vocab: 60,
        seq: 16,
        batch: 4,
        ..Configuration::preset("tiny").expect("a preset")
    }
}

/// Windows of several micro-batches, and as many held-out ones.
struct Windows {
    one: SyntheticBatches,
    micro_batches: usize,
}

impl BatchSource for Windows {
    fn next_window(&mut self) -> Result<Window, SourceError> {
        let batches = (0..self.micro_batches).map(|_| self.one.next_window());
        let windows = batches.collect::<Result<Vec<_>, _>>()?;
        Ok(Window {
            epoch: 0,
            batches: windows.into_iter().flat_map(|w| w.batches).collect(),
        })
    }

    fn cursor(&self) -> serde_json::Value {
        self.one.cursor()
    }

    fn restore(&mut self, cursor: &serde_json::Value) -> Result<(), SourceError> {
        self.one.restore(cursor)
    }

    fn evaluation(
        &mut self,
        _: Split,
    ) -> Result<Box<dyn Iterator<Item = PreparedBatch> + '_>, SourceError> {
        let mut held_out = SyntheticBatches::new(&Configuration {
            seed: 2,
            ..configuration()
        });
        let batches = (0..self.micro_batches).map(move |_| held_out.next_window());
        let windows = batches.collect::<Result<Vec<_>, _>>()?;
        Ok(Box::new(windows.into_iter().flat_map(|w| w.batches)))
    }
}

/// A training step as it was recorded, to the bit.
#[derive(Debug, PartialEq)]
struct Step {
    loss: u64,
    values: Vec<u64>,
    grad_norm: u64,
}

/// Trains for some steps; each step, and how often the host waited in it.
fn train(backend: &dyn Backend, micro_batches: usize, steps: usize) -> Vec<(Step, u64)> {
    let configuration = configuration();
    let (config, mut parts) = parts(&configuration, backend).expect("parts of a trial");
    parts.source = Box::new(Windows {
        one: SyntheticBatches::new(&configuration),
        micro_batches,
    });
    let mut trainer = Trainer::new(config, parts).expect("a trial");
    let enough = AtomicBool::new(false);
    let mut before = Counts::now();
    let mut rows = vec![];
    let outcome = trainer.run(
        &mut |event| {
            if let TrainEvent::Step(row) = event {
                let now = Counts::now();
                let step = Step {
                    loss: row.loss.to_bits(),
                    values: row.values.iter().map(|(_, v)| v.to_bits()).collect(),
                    grad_norm: row.grad_norm.to_bits(),
                };
                rows.push((step, now.since(before).waits));
                before = now;
                enough.store(rows.len() == steps, Ordering::Relaxed);
            }
        },
        &enough,
    );
    assert_eq!(outcome.expect("trains").ending, Ending::Interrupted);
    rows
}

/// A session that keeps outputs by copying them at once, as the default of the trait does.
struct Impatient(Box<dyn Session>);

impl Session for Impatient {
    fn load(&mut self, graph: Graph) -> Result<ProgramId, BackendError> {
        self.0.load(graph)
    }
    fn set_state(&mut self, name: &str, values: &[f32]) -> Result<(), BackendError> {
        self.0.set_state(name, values)
    }
    fn state(&self, name: &str) -> Result<Vec<f32>, BackendError> {
        self.0.state(name)
    }
    fn run(&mut self, id: ProgramId, feeds: &Feeds, key: RandomKey) -> Result<(), BackendError> {
        self.0.run(id, feeds, key)
    }
    fn output(&self, id: ProgramId, name: &str) -> Result<&[f32], BackendError> {
        self.0.output(id, name)
    }
    fn program_text(&self, id: ProgramId) -> Result<String, BackendError> {
        self.0.program_text(id)
    }
    fn flops(&self, id: ProgramId) -> f64 {
        self.0.flops(id)
    }
    fn profile(&self, id: ProgramId) -> Vec<KernelTime> {
        self.0.profile(id)
    }
    fn memory(&self) -> SessionMemory {
        self.0.memory()
    }
}

struct ImpatientBackend(CudaBackend);

impl Backend for ImpatientBackend {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn description(&self) -> String {
        self.0.description()
    }
    fn session(&self) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(Impatient(self.0.session()?)))
    }
}

#[test]
fn a_step_waits_once_however_many_micro_batches_it_has() {
    let Some(soft) = installed() else { return };
    let name = test_name!();
    // In a process of its own, for the counts are the whole device's.
    if !is_child(name) {
        let finished = rerun(soft, name, &[]);
        print!("{}", finished.stdout);
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        assert!(
            !finished.stderr.contains("soft-cuda:"),
            "{}",
            finished.stderr
        );
        return;
    }
    soft.load();
    let backend = CudaBackend::new().expect("the software device is there");
    let backend = backend
        .with_cache(Some(soft.images()))
        .expect("NVRTC is there");
    let impatient = ImpatientBackend(backend.clone());
    let cpu = CpuBackend::new(1).expect("threads");
    for micro_batches in [1, 2, 5] {
        let rows = train(&backend, micro_batches, 5);
        let waits: Vec<u64> = rows.iter().map(|(_, waits)| *waits).collect();
        println!("{micro_batches} micro-batches: {waits:?} waits");
        // The first step loads and sets states; the second captures.
        assert_eq!(waits[1..], [1; 4], "{micro_batches} micro-batches");
        // The same bits as read one by one, which waits for each.
        let one_by_one = train(&impatient, micro_batches, 5);
        for ((step, _), (expected, waits)) in rows.iter().zip(&one_by_one).skip(1) {
            assert_eq!(step, expected);
            assert!(*waits > micro_batches as u64, "{waits}");
        }
        // And near the processor, which never waits.
        for ((found, _), (expected, waits)) in rows.iter().zip(train(&cpu, micro_batches, 5)) {
            assert_eq!(waits, 0);
            for (found, expected) in [
                (found.loss, expected.loss),
                (found.grad_norm, expected.grad_norm),
            ] {
                let (found, expected) = (f64::from_bits(found), f64::from_bits(expected));
                assert!(
                    (found - expected).abs() < 1e-4 * expected,
                    "{found} {expected}"
                );
            }
        }
    }
}
