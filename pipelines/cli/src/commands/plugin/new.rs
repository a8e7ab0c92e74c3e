//! `ablate plugin new`: a project to begin with.

use std::path::PathBuf;

use ablate_validator::scaffold::{kind, Language, Project, ScaffoldError, Sdk};

use crate::args::{PluginLanguage, PluginNew};
use crate::commands::{print, shown, Failure, Outcome};
use crate::exit;

/// Writes the project, and says what to do next.
pub fn new(args: &PluginNew) -> Outcome {
    let language = match args.lang {
        PluginLanguage::Rust => Language::Rust,
        PluginLanguage::C => Language::C,
    };
    let wrong = |error: ScaffoldError| match error {
        ScaffoldError::Disk { .. } => Failure::running(error),
        error => Failure::usage(error),
    };
    let kind = kind(&args.kind).map_err(wrong)?;
    let project = Project::new(&args.name, kind, language).map_err(wrong)?;
    let folder = args
        .path
        .clone()
        .unwrap_or_else(|| PathBuf::from(&args.name));
    let sdk = Sdk::of_this_program();
    let files = project.write(&folder, &sdk).map_err(wrong)?;
    let mut text = format!("{}\n", shown(&folder));
    for file in files {
        text.push_str(&format!("  {}\n", shown(&file)));
    }
    let sdk = match (language, &sdk) {
        (Language::C, _) => String::new(),
        (Language::Rust, Sdk::Path(path)) => format!(
            "\nCargo.toml finds ablate-sdk in {}, the checkout that this program was built from.\n",
            shown(path)
        ),
        (Language::Rust, Sdk::Version(version)) => format!(
            "\nThe checkout that this program was built from is gone, so Cargo.toml asks the registry for \
             ablate-sdk {version}.\n"
        ),
    };
    let built = project.built();
    text.push_str(&format!(
        "{sdk}\nNext:\n  cd {}\n  {}\n  ablate plugin check {}\n  ablate run try.yaml\n",
        shown(&folder),
        project.build_line(),
        if built.components().count() > 1 {
            shown(&built)
        } else {
            format!("./{}", shown(&built))
        }
    ));
    print(&text)?;
    Ok(exit::OK)
}
