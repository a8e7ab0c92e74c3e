//! Trying plugins in a process of their own, before this one has anything to do with them.
//!
//! Owns: the questions (load this file, try this configuration), the answers, and a fresh process after
//! one that died. Must not know recipes.
//!
//! One process answers all questions, so that a run with plugins begins a few milliseconds later than one
//! without. Only after a death another one is started, without the file that killed it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use ablate_host::{CatalogueEntry, Kind, Registry};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exercise::{exercise, Fault};
use crate::process::{grant_processor, Channel, Death, Errors, Limits, Program, Worker};

/// Name of this work, as [`Channel::open`] gives it.
pub const WORK: &str = "probe";

/// What the parent asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    /// Load a library and read its descriptor.
    Load(PathBuf),
    /// Make an instance and call its hooks once.
    Try {
        kind: Kind,
        name: String,
        config: Value,
    },
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// What it is about to do, should it be the last thing.
    Doing(String),
    /// The library is sound; these are its capabilities.
    Loaded(Vec<CatalogueEntry>),
    /// Every hook came back.
    Tried,
    /// The host or the plugin says no, in words.
    Refused(String),
}

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// An error like any other: of the file, the descriptor, the configuration.
    #[error("{0}")]
    Refused(String),
    /// It brought down the process in which it was tried.
    #[error(
        "it was tried in a process of its own, and in {doing} {death}. The experiment is untouched; \
         `ablate plugin check {}` shows more", file.display()
    )]
    Died {
        /// The library.
        file: PathBuf,
        /// What was being done.
        doing: String,
        /// How the process ended.
        death: Death,
    },
    /// The system refuses another process.
    #[error("cannot start a process to try the plugin in: {0}")]
    Start(#[source] io::Error),
}

/// Tries plugins in another process.
#[derive(Debug)]
pub struct Prober {
    program: Program,
    limits: Limits,
    worker: Option<Worker>,
    /// What a fresh process must load to be where the last one was.
    loaded: Vec<PathBuf>,
    entries: Vec<CatalogueEntry>,
    /// What was tried before, and what was said: arms of an experiment have most in common.
    tried: HashMap<String, Option<String>>,
}

impl Prober {
    /// A prober that starts `program` when there is something to try.
    pub fn new(program: Program, limits: Limits) -> Self {
        Prober {
            program,
            limits,
            worker: None,
            loaded: Vec::new(),
            entries: Vec::new(),
            tried: HashMap::new(),
        }
    }

    /// Loads a library, or every one in a folder; gives what recipes can name of them.
    ///
    /// # Errors
    /// What is wrong with the path, a file, or a descriptor; or how the process ended that tried it.
    /// Libraries of the folder before the wrong one stay usable.
    pub fn load(&mut self, path: &Path) -> Result<Vec<CatalogueEntry>, ProbeError> {
        let files = ablate_host::libraries(path).map_err(|e| ProbeError::Refused(e.to_string()))?;
        let mut found = Vec::new();
        for file in files {
            match self.ask(&file, &Question::Load(file.clone()))? {
                Answer::Loaded(entries) => {
                    self.loaded.push(file);
                    self.entries.extend(entries.iter().cloned());
                    found.extend(entries);
                }
                other => return Err(unexpected(other)),
            }
        }
        Ok(found)
    }

    /// Everything that was loaded so far.
    pub fn entries(&self) -> &[CatalogueEntry] {
        &self.entries
    }

    /// Makes an instance from a configuration and calls its hooks on a small model. Errors of the hooks
    /// are no concern here: they depend on the model, and a trial reports them.
    ///
    /// # Errors
    /// The plugin's refusal of the configuration, or how the process ended that tried it.
    pub fn try_config(&mut self, kind: Kind, name: &str, config: &Value) -> Result<(), ProbeError> {
        let key = format!("{kind} {name} {config}");
        if let Some(said) = self.tried.get(&key) {
            return said
                .clone()
                .map_or(Ok(()), |said| Err(ProbeError::Refused(said)));
        }
        let result = self.try_anew(kind, name, config);
        let said = result.as_ref().err().map(ToString::to_string);
        self.tried.insert(key, said);
        result
    }

    fn try_anew(&mut self, kind: Kind, name: &str, config: &Value) -> Result<(), ProbeError> {
        let entry = self
            .entries
            .iter()
            .find(|e| e.kind == kind && e.name == name);
        let file = match entry.map(|e| &e.origin) {
            Some(ablate_host::Origin::File { path, .. }) => path.clone(),
            _ => PathBuf::new(),
        };
        let question = Question::Try {
            kind,
            name: name.to_owned(),
            config: config.clone(),
        };
        match self.ask(&file, &question)? {
            Answer::Tried => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Asks one question. After a death the next question finds a fresh process.
    fn ask(&mut self, file: &Path, question: &Question) -> Result<Answer, ProbeError> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.start()?,
        };
        let answer = answered(&mut worker, file, question)?;
        self.worker = Some(worker);
        Ok(answer)
    }

    /// A fresh process that has loaded what the last one had.
    fn start(&self) -> Result<Worker, ProbeError> {
        let mut worker = Worker::start(&self.program, WORK, self.limits, Errors::Kept, None)
            .map_err(ProbeError::Start)?;
        for file in &self.loaded {
            answered(&mut worker, file, &Question::Load(file.clone()))?;
        }
        Ok(worker)
    }
}

fn answered(worker: &mut Worker, file: &Path, question: &Question) -> Result<Answer, ProbeError> {
    worker.send(question);
    let mut doing = "its start".to_owned();
    loop {
        match worker.receive() {
            Ok(Answer::Doing(what)) => doing = what,
            Ok(Answer::Refused(message)) => return Ok(Answer::Refused(message)),
            Ok(answer) => return Ok(answer),
            Err(death) => {
                return Err(ProbeError::Died {
                    file: file.to_owned(),
                    doing,
                    death,
                })
            }
        }
    }
}

fn unexpected(answer: Answer) -> ProbeError {
    ProbeError::Refused(match answer {
        Answer::Refused(message) => message,
        other => format!("the process that tries plugins answered {other:?}"),
    })
}

/// The child's side: answers until the parent is gone. `processor_s` is granted anew for each question.
///
/// # Errors
/// When the channel breaks or the program was linked wrongly.
pub fn serve(mut channel: Channel) -> io::Result<()> {
    let mut registry = Registry::with_builtins().map_err(io::Error::other)?;
    while let Some(question) = channel.inbox.receive::<Question>()? {
        if let Some(seconds) = channel.limits.processor_s {
            grant_processor(seconds);
        }
        let out = &mut channel.out;
        let answer = match question {
            Question::Load(file) => {
                let before = registry.catalogue().len();
                out.send(&Answer::Doing("its load".into()))?;
                match registry.load_path(&file) {
                    Ok(()) => Answer::Loaded(registry.catalogue()[before..].to_vec()),
                    Err(error) => Answer::Refused(error.to_string()),
                }
            }
            Question::Try { kind, name, config } => {
                let mut doing = |hook: &str| {
                    let what = format!("`{hook}` of the {kind} `{name}`");
                    // A parent that is gone is found at the next question.
                    let _ = out.send(&Answer::Doing(what));
                };
                match exercise(&registry, kind, &name, &config, &mut doing) {
                    Err(Fault::Refused(message)) => Answer::Refused(message),
                    Ok(()) | Err(Fault::Hook(_)) => Answer::Tried,
                }
            }
        };
        channel.out.send(&answer)?;
    }
    Ok(())
}
