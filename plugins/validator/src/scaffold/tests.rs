//! Names, places of the templates, folders.

use super::*;

#[test]
fn names_are_checked() {
    for name in ["", "Lion", "9lives", "my lion", "-x", "größe"] {
        let error = Project::new(name, Kind::Optimizer, Language::Rust).unwrap_err();
        assert!(
            matches!(error, ScaffoldError::Name { .. }),
            "{name}: {error}"
        );
    }
    let taken = Project::new("adamw", Kind::Optimizer, Language::C).unwrap_err();
    assert!(
        taken
            .to_string()
            .contains("built-in optimizer called `adamw`"),
        "{taken}"
    );
    // Of another kind the name is free.
    Project::new("adamw", Kind::Schedule, Language::C).unwrap();
    let wrong = kind("optimiser").unwrap_err().to_string();
    assert!(wrong.contains("did you mean `optimizer`?"), "{wrong}");
}

#[test]
fn no_place_of_a_template_is_left_empty() {
    for kind in Kind::ALL {
        for language in [Language::Rust, Language::C] {
            let project = Project::new("my-first_one", kind, language).unwrap();
            for sdk in [Sdk::Version("1.2.3"), Sdk::Path("/a/b".into())] {
                for (path, text) in project.files(&sdk) {
                    let empty = text.match_indices("{{").find(|(at, _)| {
                        text[at + 2..].starts_with(|c: char| c.is_ascii_alphabetic())
                    });
                    assert!(empty.is_none(), "{} of {kind}:\n{text}", path.display());
                    assert!(
                        !path.ends_with("src/lib.rs") || text.contains("pub struct MyFirstOne")
                    );
                }
            }
        }
    }
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), "").unwrap();
    let project = Project::new("x", Kind::Schedule, Language::C).unwrap();
    let error = project
        .write(folder.path(), &Sdk::Version("1.0.0"))
        .unwrap_err();
    assert!(matches!(error, ScaffoldError::Exists { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let written = project
        .write(&folder.path().join("new"), &Sdk::Version("1.0.0"))
        .unwrap();
    assert!(
        written.contains(&PathBuf::from("ablate_plugin.h")),
        "{written:?}"
    );
}
