//! A trial, or the data, in a process of its own: the child's side.
//!
//! Owns the way from an order to a trial of [`crate::run()`] as it would run in the parent, to the same bits. Must
//! not know why it is here.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use ablate_validator::process::{Channel, Inbox, Outbox};

use crate::data::DataStore;
use crate::device;
use crate::error::{ExperimentError, Result};
use crate::events::{Event, Progress};
use crate::plugins::Plugins;
use crate::run::{announce, is_disk};
use crate::store::TrialStore;
use crate::trial::{self, TrialEnd, TrialInput};
use crate::wire::{self, Message, Order, INTERRUPT};

/// Name of this work, as [`Channel::open`] gives it.
pub const WORK: &str = "trial";

/// Exit code where the parent ended in haste; nobody looks at it.
const ABANDONED: i32 = 3;

/// Does what the parent orders.
///
/// # Errors
/// When the channel breaks.
pub fn serve(channel: Channel) -> io::Result<()> {
    let Channel {
        mut out, mut inbox, ..
    } = channel;
    let Some(order) = inbox.receive::<Order>()? else {
        return Ok(());
    };
    let interrupt = watch(inbox);
    let done = work(&order, &mut Reporter { out: &mut out }, &interrupt);
    out.send(&done.unwrap_or_else(|error| Message::Failed {
        disk: is_disk(&error),
        message: error.to_string(),
    }))
}

/// A flag that the parent raises, by a word or by its end. A second word, or an end after the word, ends
/// this process at once, even where a plugin does not come back.
fn watch(mut inbox: Inbox) -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    std::thread::spawn(move || loop {
        let word = inbox.receive::<String>();
        let gone = !matches!(&word, Ok(Some(word)) if word == INTERRUPT);
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(ABANDONED);
        }
        if gone {
            return;
        }
    });
    flag
}

struct Reporter<'a> {
    out: &'a mut Outbox,
}

impl Progress for Reporter<'_> {
    fn event(&mut self, event: Event<'_>) {
        if let Some(message) = Message::of(&event) {
            // A parent that is gone raises the flag; the trial then saves itself and ends.
            let _ = self.out.send(&message);
        }
    }
}

fn work(order: &Order, progress: &mut dyn Progress, interrupt: &AtomicBool) -> Result<Message> {
    let (plugins, wrong) = Plugins::load(&order.plugins)?;
    if let Some((_, message)) = wrong.into_iter().next() {
        return Err(ExperimentError::Recipe(message));
    }
    plugins.same_files(&order.files)?;
    let catalog = plugins.catalog();
    let baseline = wire::read(&order.baseline, &catalog)?;
    progress.event(Event::Working("reading the corpus"));
    let mut store = DataStore::new(&baseline.data, PathBuf::new(), &plugins)?;
    let Some(trial) = &order.trial else {
        let facts = serde_yaml::to_string(store.facts()).map_err(|e| {
            ExperimentError::Recipe(format!("cannot write the facts about the corpus: {e}"))
        })?;
        return Ok(Message::Data {
            facts,
            curation: store.baseline().curation.clone(),
        });
    };
    let arm = trial.arm(&catalog)?;
    let fingerprint = trial::fingerprint(&arm.recipe, &baseline, &plugins);
    if fingerprint != trial.fingerprint {
        return Err(ExperimentError::Recipe(format!(
            "the recipe of this trial changed on its way to the process that runs it: {fingerprint} is not {}",
            trial.fingerprint
        )));
    }
    let backend = device::open(baseline.device, baseline.precision, trial.threads)?;
    let data = store.get(&arm.recipe.data)?;
    announce(&arm, &data, progress);
    let input = TrialInput {
        arm: &arm,
        seed: trial.seed,
        number: trial.number,
        trials: trial.trials,
        data: &data,
        backend: &*backend,
        plugins: &plugins,
        store: &TrialStore::at(trial.folder.clone()),
    };
    Ok(match trial::run(&input, &baseline, progress, interrupt)? {
        TrialEnd::Done(result) => Message::Done(result),
        TrialEnd::Interrupted => Message::Interrupted,
    })
}
