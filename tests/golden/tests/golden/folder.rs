//! Folders that transformers wrote, read and written again.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ablate_bert::hf::{export, import, ExportTensor, Tensors};
use ablate_bert::{
    encoder_parameters, mlm_head_parameters, nsp_head_parameters, pooler_parameters, BertError,
};
use safetensors::SafeTensors;

use crate::case::{Case, CASES};

fn stored_names(folder: &Path) -> BTreeSet<String> {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, _)| name.to_string()).collect()
}

fn write(folder: &Path, case: &Case, tensors: &Tensors) {
    let views: Vec<ExportTensor<'_>> = tensors
        .iter()
        .map(|(name, (shape, values))| ExportTensor {
            name,
            shape,
            values,
        })
        .collect();
    export(folder, &case.config, &views, &[]).unwrap();
}

#[test]
fn a_folder_of_transformers_comes_back_with_the_same_tensors_and_keys() {
    for name in CASES {
        let case = Case::load(name);
        let specs = [
            encoder_parameters(&case.config),
            pooler_parameters(&case.config),
            mlm_head_parameters(&case.config),
            nsp_head_parameters(&case.config),
        ]
        .concat();
        let ours: BTreeSet<String> = specs.into_iter().map(|s| s.name).collect();
        assert_eq!(stored_names(&case.folder), ours, "{name}");

        let root = tempfile::tempdir().unwrap();
        let copy = root.path().join("copy");
        write(&copy, &case, &case.parameters);
        assert_eq!(stored_names(&copy), ours, "{name}");
        let (config, tensors) = import(&copy).unwrap();
        assert_eq!(tensors, case.parameters, "{name}");
        assert_eq!(config.architectures, ["BertForPreTraining"]);
        // Every key that transformers wrote is still there with its value.
        let json = |folder: &Path| -> serde_json::Value {
            let text = fs::read_to_string(folder.join("config.json")).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let (theirs, back) = (json(&case.folder), json(&copy));
        for (key, value) in theirs.as_object().unwrap() {
            assert_eq!(&back[key], value, "{name}: {key}");
        }
    }
}

#[test]
fn a_configuration_of_another_size_is_refused_by_name_and_shapes() {
    let case = Case::load("even");
    let root = tempfile::tempdir().unwrap();
    for (file, edit) in [("config.json", true), ("model.safetensors", false)] {
        let text = fs::read(case.folder.join(file)).unwrap();
        let text = if edit {
            let text = String::from_utf8(text).unwrap();
            let wider = text.replace("\"intermediate_size\": 32", "\"intermediate_size\": 48");
            assert_ne!(text, wider);
            wider.into_bytes()
        } else {
            text
        };
        fs::write(root.path().join(file), text).unwrap();
    }
    let error = import(root.path()).unwrap_err();
    assert!(matches!(error, BertError::Shape { .. }), "{error}");
    let message = error.to_string();
    for part in ["intermediate.dense", "[32", "[48"] {
        assert!(message.contains(part), "{message}");
    }
}
