//! Where a run took place: `environment.json` and the answers of `ablate doctor`.
//!
//! Owns what is looked up on the machine. Must not change anything there.

use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;

/// The machine and the versions.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Version of Ablate.
    pub ablate: &'static str,
    /// Version of luminal, whose primitives the graphs are made of.
    pub luminal: &'static str,
    /// Operating system and architecture.
    pub system: String,
    /// Name of the processor.
    pub cpu: String,
    /// SIMD extensions that kernels may choose from.
    pub cpu_features: Vec<&'static str>,
    /// Logical cores that this process may use.
    pub cores: usize,
    /// Threads that were used.
    pub threads: usize,
    /// One line about the device that was used.
    pub device: String,
    /// Commit of the working folder, if it is a git repository; `+` when files are changed.
    pub git: Option<String>,
    /// Libraries that plugins were loaded from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<Library>,
}

/// A library of plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Library {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of its bytes when it was loaded, in hexadecimal.
    pub sha256: String,
    /// Name of its plugin.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// Plugin ABI that it was built with: `1.0`.
    pub abi: String,
}

/// Looks around.
pub fn look(threads: usize, device: String) -> Environment {
    Environment {
        ablate: env!("CARGO_PKG_VERSION"),
        luminal: "0.2.0",
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cpu: cpu_name(),
        cpu_features: cpu_features(),
        cores: crate::device::default_threads(),
        threads,
        device,
        git: git(),
        plugins: Vec::new(),
    }
}

/// Name of the processor as the system tells it.
pub fn cpu_name() -> String {
    let linux = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            text.lines()
                .find(|l| l.starts_with("model name"))
                .and_then(|l| l.split_once(':'))
                .map(|(_, name)| name.trim().to_owned())
        });
    linux.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// SIMD extensions of this processor that matter for the kernels.
pub fn cpu_features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! note {
            ($($name:tt),*) => {
                $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })*
            };
        }
        note!(
            "sse4.2",
            "avx",
            "avx2",
            "fma",
            "f16c",
            "avx512f",
            "avx512bw",
            "avx512vl",
            "avx512dq",
            "avx512bf16"
        );
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! note {
            ($($name:tt),*) => {
                $(if std::arch::is_aarch64_feature_detected!($name) { found.push($name); })*
            };
        }
        note!("neon", "fp16", "bf16", "sve");
    }
    found
}

fn git() -> Option<String> {
    let run = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = run(&["rev-parse", "HEAD"])?;
    let changed = run(&["status", "--porcelain", "--untracked-files=no"])
        .is_some_and(|status| !status.is_empty());
    Some(if changed { commit + "+" } else { commit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_versions_and_machine() {
        let e = look(3, "cpu".to_owned());
        assert_eq!(e.threads, 3);
        assert!(e.cores >= 1);
        assert!(!e.cpu.is_empty());
        assert_eq!(e.ablate, env!("CARGO_PKG_VERSION"));
    }
}
