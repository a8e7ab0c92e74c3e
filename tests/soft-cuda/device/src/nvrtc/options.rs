//! The options of `nvrtcCompileProgram` that matter here, and the others by name.

/// What the options ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// 80 for `sm_80` and `compute_80`.
    pub arch: u32,
    /// Whether `sm_` was asked for: a CUBIN is made then.
    pub is_real: bool,
    /// `-D` and `-U` for the C++ compiler.
    pub macros: Vec<String>,
    /// The language, `c++17` if nothing was said.
    pub standard: String,
    /// Whether `--ptxas-options=-v` was given.
    pub verbose: bool,
}

/// Options that change nothing here, each with or without a value.
const IGNORED: &[&str] = &[
    "ftz",
    "prec-sqrt",
    "prec-div",
    "fmad",
    "use_fast_math",
    "maxrregcount",
    "extra-device-vectorization",
    "device-as-default-execution-space",
    "default-device",
    "restrict",
    "generate-line-info",
    "lineinfo",
    "device-debug",
    "G",
    "dopt",
    "disable-warnings",
    "w",
    "diag-suppress",
    "diag-error",
    "diag-warn",
    "relocatable-device-code",
    "rdc",
    "no-source-include",
    "builtin-initializer-list",
    "builtin-move-forward",
    "modify-stack-limit",
    "split-compile",
    "minimal",
    "jump-table-density",
    "no-cache",
];

/// Compute capabilities that NVRTC 12.9 knows.
pub const ARCHITECTURES: &[u32] = &[
    50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90, 100, 101, 103, 120, 121,
];

impl Options {
    /// Reads options as a program gives them.
    ///
    /// # Errors
    /// The first that does not exist, or whose value does not.
    pub fn read(given: &[String]) -> Result<Self, String> {
        let mut options = Options {
            arch: 75,
            is_real: false,
            macros: vec![],
            standard: "c++17".into(),
            verbose: false,
        };
        let mut rest = given.iter();
        while let Some(option) = rest.next() {
            let name = option.trim_start_matches('-');
            if !option.starts_with('-') || name.is_empty() {
                return Err(format!("`{option}` is no option"));
            }
            if let Some(value) = short(option, 'D')
                .or(short(option, 'U'))
                .or(short(option, 'I'))
            {
                let value = match value {
                    "" => rest.next().ok_or(format!("`{option}` needs a value"))?,
                    value => value,
                };
                // Sources are whole, so there is nothing to look for in a folder.
                if !option.starts_with("-I") {
                    options.macros.push(format!("{}{value}", &option[..2]));
                }
                continue;
            }
            let (name, mut value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (name, None),
            };
            let takes_value = matches!(
                name,
                "gpu-architecture"
                    | "arch"
                    | "include-path"
                    | "define-macro"
                    | "undefine-macro"
                    | "std"
                    | "ptxas-options"
                    | "Xptxas"
                    | "pre-include"
                    | "include"
            );
            if takes_value && value.is_none() {
                value = rest.next().cloned();
            }
            let value = value.unwrap_or_default();
            match name {
                "gpu-architecture" | "arch" => options.set_arch(&value)?,
                "include-path" => {}
                "define-macro" => options.macros.push(format!("-D{value}")),
                "undefine-macro" => options.macros.push(format!("-U{value}")),
                "std" => options.set_standard(&value)?,
                "ptxas-options" | "Xptxas" => {
                    options.verbose |= value.trim_start_matches('-').starts_with('v');
                }
                _ if IGNORED.contains(&name) => {}
                _ => return Err(format!("unrecognized option {option}")),
            }
        }
        Ok(options)
    }

    fn set_arch(&mut self, value: &str) -> Result<(), String> {
        let wrong = || format!("invalid value for --gpu-architecture: {value}");
        let (is_real, number) = match value.split_once('_') {
            Some(("sm", number)) => (true, number),
            Some(("compute", number)) => (false, number),
            _ => return Err(wrong()),
        };
        let digits = number.trim_end_matches(['a', 'f']);
        let arch = digits.parse().map_err(|_| wrong())?;
        if !ARCHITECTURES.contains(&arch) {
            return Err(wrong());
        }
        (self.arch, self.is_real) = (arch, is_real);
        Ok(())
    }

    fn set_standard(&mut self, value: &str) -> Result<(), String> {
        match value {
            // The emulator's own headers need 17.
            "c++03" | "c++11" | "c++14" | "c++17" => Ok(()),
            "c++20" => {
                self.standard = value.into();
                Ok(())
            }
            _ => Err(format!("invalid value for --std: {value}")),
        }
    }
}

/// The rest of `-Dx`, but not of `--Dx` or `-Device...`: only the three that NVRTC writes with one dash.
fn short(option: &str, letter: char) -> Option<&str> {
    let rest = option.strip_prefix('-')?.strip_prefix(letter)?;
    (!option.starts_with("--")).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Result<Options, String> {
        Options::read(&options.iter().map(|o| o.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn the_usual_options() {
        let o = read(&[
            "--gpu-architecture=sm_90a",
            "-DN=4",
            "-I",
            "/usr/include",
            "--ptxas-options=-v",
            "--use_fast_math",
            "--std=c++17",
        ])
        .unwrap();
        assert_eq!((o.arch, o.is_real, o.verbose), (90, true, true));
        assert_eq!(o.macros, ["-DN=4"]);
        assert!(!read(&["-arch", "compute_80"]).unwrap().is_real);
    }

    #[test]
    fn what_does_not_exist_is_named() {
        assert!(read(&["--gpu-architecture=sm_42"])
            .unwrap_err()
            .contains("sm_42"));
        assert!(read(&["--fast"]).unwrap_err().contains("--fast"));
        assert!(read(&["sm_80"]).unwrap_err().contains("no option"));
    }
}
