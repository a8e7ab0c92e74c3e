//! Running the C++ compiler, and keeping what it made.

use super::options::Options;
use super::source::{rewrite, Kernel};
use crate::emulator::FILES;
use crate::settings::{Checks, Settings};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Parts of the emulator that are compiled once and linked to every kernel.
const RUNTIME: &[&str] = &["access", "block", "fiber", "undefined", "warp"];

const COMMON: &[&str] = &[
    "-fPIC",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fvisibility=hidden",
    // One rounding for each operation, whatever the processor.
    "-ffp-contract=off",
];

/// Writes a file so that it is whole or not there.
///
/// # Errors
/// The disk refuses.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}-{number}", std::process::id()));
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize()[..12]
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A compiler with the folder that it works in.
struct Compiler<'a> {
    settings: &'a Settings,
    folder: PathBuf,
}

impl Compiler<'_> {
    /// Runs the compiler; its messages if it fails.
    fn run(&self, arguments: &[String]) -> Result<(), String> {
        let run = Command::new(&self.settings.compiler)
            .args(arguments)
            .output()
            .map_err(|e| format!("`{}` does not start: {e}", self.settings.compiler))?;
        if run.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&run.stderr).into_owned())
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// The emulator's sources, compiled once.
    fn runtime(&self) -> Result<Vec<String>, String> {
        let mut objects = vec![];
        for part in RUNTIME {
            let object = self.folder.join(format!("{part}.o"));
            objects.push(object.to_string_lossy().into_owned());
            if object.is_file() {
                continue;
            }
            let temporary = self.path(&format!("{part}-{}.o", std::process::id()));
            let mut arguments: Vec<String> = ["-std=c++17", "-O2", "-c"].map(String::from).to_vec();
            arguments.extend(COMMON.iter().map(|option| option.to_string()));
            if self.settings.checks == Checks::Address {
                arguments.push("-D__SANITIZE_ADDRESS__=1".into());
            }
            arguments.extend([
                self.path(&format!("{part}.cpp")),
                "-o".into(),
                temporary.clone(),
            ]);
            self.run(&arguments)?;
            std::fs::rename(&temporary, &object)
                .map_err(|e| format!("{}: {e}", object.display()))?;
        }
        Ok(objects)
    }

    fn kernel_flags(&self) -> Vec<String> {
        let mut flags: Vec<String> = COMMON.iter().map(|option| option.to_string()).collect();
        flags.extend(
            [
                "-Wall",
                "-Wno-unused",
                "-Wno-sign-compare",
                "-Wno-unknown-pragmas",
                "-Wno-attributes",
            ]
            .map(String::from),
        );
        match self.settings.checks {
            Checks::Off => flags.push("-O2".into()),
            Checks::Address => {
                flags.extend(["-O1", "-g1", "-fsanitize=address"].map(String::from));
            }
            Checks::Access => flags.extend(
                [
                    "-O1",
                    "-g1",
                    // Merged accesses would look misaligned or too wide.
                    "-fno-tree-vectorize",
                    "-fno-tree-slp-vectorize",
                    "-fsanitize=thread,alignment,bounds,signed-integer-overflow,integer-divide-by-zero",
                    "-fno-sanitize-recover=alignment,bounds,signed-integer-overflow,integer-divide-by-zero",
                ]
                .map(String::from),
            ),
        }
        flags
    }

    fn link_flags(&self) -> &'static [&'static str] {
        match self.settings.checks {
            // The sanitizer's library must be in the process already.
            Checks::Address => &["-shared", "-nostartfiles", "-fsanitize=address"],
            _ => &["-shared", "-nostartfiles"],
        }
    }
}

/// The whole translation unit of a source.
fn unit(name: &str, text: &str, kernels: &[Kernel], arch: u32) -> String {
    let mut unit =
        format!("#include \"soft_cuda.h\"\nnamespace {{\n#line 1 \"{name}\"\n{text}\n}}\n");
    let _ = writeln!(unit, "#line 1 \"the table of kernels\"");
    let _ = writeln!(unit, "static const SoftKernel soft_kernels[] = {{");
    for kernel in kernels {
        let _ = writeln!(
            unit,
            "  SOFT_KERNEL({}, {}),",
            kernel.name, kernel.max_threads
        );
    }
    let _ = writeln!(
        unit,
        "  {{}}}};\nextern \"C\" __attribute__((visibility(\"default\"))) const SoftModule \
         soft_module = {{SOFT_ABI, {arch}, soft_kernels, {}}};",
        kernels.len()
    );
    unit
}

/// Compiles a source to a shared object.
///
/// # Errors
/// The log: what is wrong with the source, or with the compiler.
pub fn compile(
    settings: &Settings,
    name: &str,
    source: &str,
    options: &Options,
) -> Result<Vec<u8>, String> {
    let name: String = name
        .chars()
        .filter(|c| !matches!(c, '"' | '\\' | '\n'))
        .collect();
    let rewritten = rewrite(source)
        .map_err(|mistake| format!("{name}({}): error: {}\n", mistake.line, mistake.text))?;
    let mut sources: Vec<&str> = FILES
        .iter()
        .flat_map(|(name, text)| [*name, *text])
        .collect();
    let checks = format!("{:?} {}", settings.checks, settings.compiler);
    sources.push(&checks);
    let compiler = Compiler {
        settings,
        folder: settings
            .cache
            .join(format!("emulator-{}", digest(&sources))),
    };
    let io_error = |e: io::Error| format!("{}: {e}\n", compiler.folder.display());
    std::fs::create_dir_all(&compiler.folder).map_err(io_error)?;
    for (name, text) in FILES {
        let path = compiler.folder.join(name);
        if !path.is_file() {
            write_atomically(&path, text.as_bytes()).map_err(io_error)?;
        }
    }
    let unit = unit(&name, &rewritten.text, &rewritten.kernels, options.arch);
    let mut flags = vec![format!("-std={}", options.standard)];
    flags.extend(compiler.kernel_flags());
    flags.extend(options.macros.iter().cloned());
    let key = digest(&[&unit, &flags.join(" ")]);
    let object = compiler.folder.join(format!("kernel-{key}.so"));
    if !object.is_file() {
        let runtime = compiler.runtime()?;
        let work = |ending: &str| compiler.path(&format!("{key}-{}.{ending}", std::process::id()));
        let (cpp, compiled, linked) = (work("cpp"), work("o"), work("so"));
        std::fs::write(&cpp, &unit).map_err(io_error)?;
        let mut arguments = flags;
        arguments.extend([
            "-I".into(),
            compiler.path("."),
            "-c".into(),
            cpp.clone(),
            "-o".into(),
            compiled.clone(),
        ]);
        let done = compiler.run(&arguments).and_then(|()| {
            let mut arguments: Vec<String> = compiler
                .link_flags()
                .iter()
                .map(|flag| flag.to_string())
                .collect();
            arguments.push(compiled.clone());
            arguments.extend(runtime);
            arguments.extend(["-o".into(), linked.clone()]);
            compiler.run(&arguments)
        });
        let _ = (std::fs::remove_file(&cpp), std::fs::remove_file(&compiled));
        done?;
        std::fs::rename(&linked, &object).map_err(io_error)?;
    }
    std::fs::read(&object).map_err(io_error)
}
