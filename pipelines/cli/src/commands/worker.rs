//! The hidden command `worker`: this program as a process in which a plugin may die.

use ablate_experiment::open_device;
use ablate_recipe::{Device, Precision};
use ablate_validator::process::{Channel, Program};
use ablate_validator::{check, probe};

use super::{Failure, Outcome};
use crate::exit;

/// How a worker is started.
pub fn program() -> Result<Program, Failure> {
    Program::this(["worker"]).map_err(|e| {
        Failure::running(format!(
            "cannot tell which file this program is, to start it again: {e}"
        ))
    })
}

/// Does what the parent on the other end of standard input wants.
pub fn worker() -> Outcome {
    let (channel, work) = Channel::open().map_err(|e| {
        Failure::usage(format!(
            "`ablate worker` is started by ablate itself, not by people: {e}"
        ))
    })?;
    let done = match work.as_str() {
        probe::WORK => probe::serve(channel),
        check::WORK => {
            let backend = open_device(Device::Cpu, Precision::F32, 1).map_err(Failure::running)?;
            check::serve(channel, &*backend)
        }
        ablate_experiment::worker::WORK => ablate_experiment::worker::serve(channel),
        other => Err(std::io::Error::other(format!("there is no work `{other}`"))),
    };
    done.map_err(Failure::running)?;
    Ok(exit::OK)
}
