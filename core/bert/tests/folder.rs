//! Import and export of model folders: round trips, old names, damage.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ablate_bert::hf::{export, import, ExportTensor, Tensors};
use ablate_bert::{
    encoder_parameters, initial_values, mlm_head_parameters, nsp_head_parameters,
    pooler_parameters, BertConfig, BertError, Init, ParameterSpec, WORD_EMBEDDINGS,
};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn config() -> BertConfig {
    BertConfig {
        vocab_size: 11,
        hidden_size: 6,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 8,
        max_position_embeddings: 7,
        ..BertConfig::default()
    }
}

fn values(specs: &[ParameterSpec]) -> Tensors {
    let init = Init::Normal { std: 1.0 };
    specs
        .iter()
        .map(|s| {
            (
                s.name.clone(),
                (s.shape.clone(), initial_values(s, &init, 5)),
            )
        })
        .collect()
}

fn pretraining() -> Tensors {
    let c = config();
    values(
        &[
            encoder_parameters(&c),
            pooler_parameters(&c),
            mlm_head_parameters(&c),
            nsp_head_parameters(&c),
        ]
        .concat(),
    )
}

fn views(tensors: &Tensors) -> Vec<ExportTensor<'_>> {
    tensors
        .iter()
        .map(|(name, (shape, values))| ExportTensor {
            name,
            shape,
            values,
        })
        .collect()
}

/// Writes weights as they are, in f32 and under any names.
fn write_weights(dir: &Path, tensors: &Tensors) {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(n, (s, v))| (n, s, v.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(n, s, b)| {
        let view = TensorView::new(Dtype::F32, s.to_vec(), b).unwrap();
        (n.as_str(), view)
    });
    let file = safetensors::serialize(views, None).unwrap();
    fs::write(dir.join("model.safetensors"), file).unwrap();
}

fn folder_with(tensors: &Tensors) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let json = serde_json::to_string(&config()).unwrap();
    fs::write(dir.path().join("config.json"), json).unwrap();
    write_weights(dir.path(), tensors);
    dir
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_round_trip_keeps_every_bit_and_every_unknown_key() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b/final");
    let mut config = config();
    config.extra.insert("note".into(), "kept".into());
    config.extra.insert("torch_dtype".into(), "float16".into());
    let tensors = pretraining();
    let vocabulary = ("vocab.txt".to_string(), b"[PAD]\n[UNK]\n".to_vec());
    export(
        &dir,
        &config,
        &views(&tensors),
        std::slice::from_ref(&vocabulary),
    )
    .unwrap();
    assert_eq!(
        entries(&dir),
        ["config.json", "model.safetensors", "vocab.txt"]
    );
    assert_eq!(entries(dir.parent().unwrap()), ["final"]);
    assert_eq!(fs::read(dir.join("vocab.txt")).unwrap(), vocabulary.1);

    let (read, back) = import(&dir).unwrap();
    assert_eq!(back, tensors);
    assert_eq!(read.architectures, ["BertForPreTraining"]);
    assert_eq!(read.extra["note"], "kept");
    // The values are f32 now; transformers would load them as f16 if the old key stayed.
    assert!(!read.extra.contains_key("torch_dtype"));
    assert_eq!(read.extra["dtype"], "float32");

    // Exporting what was imported gives the same bytes.
    let again = root.path().join("again");
    export(&again, &read, &views(&back), &[vocabulary]).unwrap();
    for name in entries(&dir) {
        assert_eq!(
            fs::read(dir.join(&name)).unwrap(),
            fs::read(again.join(&name)).unwrap(),
            "{name}"
        );
    }
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let wanted = HashMap::from([("format".to_string(), "pt".to_string())]);
    assert_eq!(metadata.metadata().as_ref(), Some(&wanted));
}

#[test]
fn the_architecture_is_the_class_that_the_weights_fill() {
    let c = config();
    let encoder = encoder_parameters(&c);
    let pooled = [encoder.clone(), pooler_parameters(&c)].concat();
    for (specs, wanted) in [
        (encoder.clone(), "BertModel"),
        (pooled.clone(), "BertModel"),
        (
            [encoder, mlm_head_parameters(&c)].concat(),
            "BertForMaskedLM",
        ),
        (
            [pooled, nsp_head_parameters(&c)].concat(),
            "BertForNextSentencePrediction",
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("model");
        export(&dir, &c, &views(&values(&specs)), &[]).unwrap();
        assert_eq!(import(&dir).unwrap().0.architectures, [wanted]);
    }
}

#[test]
fn an_export_replaces_an_older_one_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("model");
    let mut tensors = pretraining();
    let stale = ("tokenizer.json".to_string(), b"{}".to_vec());
    export(&dir, &config(), &views(&tensors), &[stale]).unwrap();
    tensors.get_mut(WORD_EMBEDDINGS).unwrap().1[0] = 42.0;
    export(&dir, &config(), &views(&tensors), &[]).unwrap();
    assert_eq!(import(&dir).unwrap().1[WORD_EMBEDDINGS].1[0], 42.0);
    assert_eq!(entries(&dir), ["config.json", "model.safetensors"]);
    assert_eq!(entries(root.path()), ["model"]);

    // A folder of something else, and a file, stay.
    let other = root.path().join("thesis");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("chapter.txt"), "text").unwrap();
    for target in [other.clone(), other.join("chapter.txt")] {
        let error = export(&target, &config(), &views(&tensors), &[]).unwrap_err();
        assert!(matches!(error, BertError::Occupied { .. }), "{error}");
    }
    assert_eq!(entries(&other), ["chapter.txt"]);
    assert_eq!(entries(root.path()), ["model", "thesis"]);
}

#[test]
fn a_failed_export_leaves_the_older_one_alone() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("model");
    let tensors = pretraining();
    export(&dir, &config(), &views(&tensors), &[]).unwrap();
    // A name longer than any file system takes fails while writing, after the weights.
    let long = ("x".repeat(300), Vec::new());
    let error = export(&dir, &config(), &views(&tensors), &[long]).unwrap_err();
    assert!(
        matches!(
            error,
            BertError::Io {
                action: "write",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(entries(root.path()), ["model"]);
    assert_eq!(import(&dir).unwrap().1, tensors);

    // A parent that is a file.
    let blocked = dir.join("config.json").join("model");
    let error = export(&blocked, &config(), &views(&tensors), &[]).unwrap_err();
    assert!(matches!(error, BertError::Io { .. }), "{error}");
}

#[test]
fn exports_refuse_what_transformers_could_not_load() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("model");
    let try_export = |tensors: &Tensors| export(&dir, &config(), &views(tensors), &[]);

    let mut lacking = pretraining();
    lacking.remove("bert.encoder.layer.1.output.dense.bias");
    lacking.remove("bert.embeddings.LayerNorm.bias");
    let error = try_export(&lacking).unwrap_err().to_string();
    assert!(
        error.contains("lacks 2 of the encoder's tensors"),
        "{error}"
    );
    assert!(error.contains("layer.1.output.dense.bias"), "{error}");

    let mut shaped = pretraining();
    shaped.get_mut("cls.predictions.bias").unwrap().0 = vec![12];
    let error = try_export(&shaped).unwrap_err().to_string();
    assert!(error.contains("[12]") && error.contains("[11]"), "{error}");

    let mut short = pretraining();
    short.get_mut(WORD_EMBEDDINGS).unwrap().1.pop();
    let error = try_export(&short).unwrap_err();
    assert!(
        matches!(error, BertError::Values { values: 65, .. }),
        "{error}"
    );

    let tensors = pretraining();
    let mut twice = views(&tensors);
    twice.push(twice[0]);
    let error = export(&dir, &config(), &twice, &[]).unwrap_err();
    assert!(matches!(error, BertError::Duplicate { .. }), "{error}");
    assert!(entries(root.path()).is_empty());
}

#[test]
fn bare_and_legacy_names_and_buffers_are_understood() {
    let tensors = pretraining();
    let mut stored = Tensors::new();
    for (name, tensor) in &tensors {
        let name = name.strip_prefix("bert.").unwrap_or(name);
        let name = name
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta");
        stored.insert(name, tensor.clone());
    }
    stored.insert("embeddings.position_ids".into(), (vec![1, 7], vec![0.0; 7]));
    let words = tensors[WORD_EMBEDDINGS].clone();
    stored.insert("cls.predictions.decoder.weight".into(), words);
    // This file has the bias under the decoder's name alone.
    let bias = stored.remove("cls.predictions.bias").unwrap();
    stored.insert("cls.predictions.decoder.bias".into(), bias);
    let dir = folder_with(&stored);
    assert_eq!(import(dir.path()).unwrap().1, tensors);
}

#[test]
fn an_untied_decoder_and_a_name_in_two_spellings_are_refused() {
    let mut stored = pretraining();
    let mut decoder = stored[WORD_EMBEDDINGS].clone();
    decoder.1[3] += 1.0;
    stored.insert("cls.predictions.decoder.weight".into(), decoder);
    let error = import(folder_with(&stored).path()).unwrap_err();
    assert!(matches!(error, BertError::Untied { .. }), "{error}");

    let mut stored = pretraining();
    let norm = stored["bert.embeddings.LayerNorm.weight"].clone();
    stored.insert("bert.embeddings.LayerNorm.gamma".into(), norm);
    let error = import(folder_with(&stored).path()).unwrap_err();
    assert!(matches!(error, BertError::Duplicate { .. }), "{error}");
}

#[test]
fn narrower_and_wider_floats_become_f32_and_integers_are_refused() {
    let store = |dtype: Dtype, convert: &dyn Fn(f32) -> Vec<u8>| {
        let tensors = pretraining();
        let dir = folder_with(&tensors);
        let bytes: Vec<_> = tensors
            .iter()
            .map(|(n, (s, v))| {
                let data: Vec<u8> = v.iter().flat_map(|x| convert(*x)).collect();
                (n.as_str(), s.clone(), data)
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(n, s, b)| (*n, TensorView::new(dtype, s.clone(), b).unwrap()));
        let file = safetensors::serialize(views, None).unwrap();
        fs::write(dir.path().join("model.safetensors"), file).unwrap();
        import(dir.path()).map(|(_, back)| (tensors, back))
    };
    let (tensors, back) = store(Dtype::F64, &|x| f64::from(x).to_le_bytes().to_vec()).unwrap();
    assert_eq!(back, tensors);
    // bf16 by truncation: the upper half of the f32.
    let (tensors, back) = store(Dtype::BF16, &|x| {
        ((x.to_bits() >> 16) as u16).to_le_bytes().to_vec()
    })
    .unwrap();
    for (name, (_, v)) in &tensors {
        let cut: Vec<f32> = v
            .iter()
            .map(|x| f32::from_bits(x.to_bits() & 0xffff_0000))
            .collect();
        assert_eq!(back[name].1, cut, "{name}");
    }
    // 0x3800 is one half.
    let (_, back) = store(Dtype::F16, &|_| vec![0x00, 0x38]).unwrap();
    assert!(back.values().all(|(_, v)| v.iter().all(|x| *x == 0.5)));
    let error = store(Dtype::I16, &|_| vec![0, 0]).unwrap_err().to_string();
    assert!(error.contains("I16") && error.contains("bert."), "{error}");
}

#[test]
fn damage_is_an_error_that_names_the_file() {
    let tensors = pretraining();
    let dir = folder_with(&tensors);
    let path = dir.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let mut wild = whole.clone();
    wild[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut header = whole.clone();
    header[9] = 0xff;
    let cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        whole[..5].to_vec(),
        whole[..100].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], b"more"].concat(),
        wild,
        header,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
    ];
    for (i, bytes) in cases.into_iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let error = import(dir.path()).unwrap_err();
        assert!(
            matches!(error, BertError::SafeTensors { .. }),
            "{i}: {error}"
        );
        assert!(error.to_string().contains("model.safetensors"), "{error}");
    }
}

#[test]
fn every_cut_of_a_file_is_refused_without_a_panic() {
    let dir = folder_with(&pretraining());
    let path = dir.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    for n in (0..whole.len()).step_by(37) {
        fs::write(&path, &whole[..n]).unwrap();
        assert!(import(dir.path()).is_err(), "cut at {n}");
    }
}

#[test]
fn weights_that_do_not_fit_the_configuration_are_refused() {
    let mut stored = pretraining();
    stored.insert(WORD_EMBEDDINGS.into(), (vec![12, 6], vec![0.0; 72]));
    let error = import(folder_with(&stored).path()).unwrap_err().to_string();
    assert!(
        error.contains("[12, 6]") && error.contains("[11, 6]"),
        "{error}"
    );

    let mut stored = pretraining();
    stored.retain(|name, _| !name.contains("layer.1."));
    let error = import(folder_with(&stored).path()).unwrap_err();
    assert!(
        matches!(&error, BertError::Missing { names, .. } if names.len() == 16),
        "{error}"
    );
}

#[test]
fn folders_without_the_two_files_say_what_is_lacking() {
    let dir = tempfile::tempdir().unwrap();
    let error = import(dir.path()).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
    fs::write(dir.path().join("config.json"), "{\"hidden_size\": }").unwrap();
    let error = import(dir.path()).unwrap_err();
    assert!(matches!(error, BertError::Json { .. }), "{error}");
    assert!(error.to_string().contains("line 1"), "{error}");
    let impossible = r#"{"hidden_size": 7, "num_attention_heads": 2, "model_type": "roberta"}"#;
    fs::write(dir.path().join("config.json"), impossible).unwrap();
    let error = import(dir.path()).unwrap_err();
    assert!(
        matches!(&error, BertError::Config { problems } if problems.len() == 2),
        "{error}"
    );
    fs::write(dir.path().join("config.json"), "{}").unwrap();
    let error = import(dir.path()).unwrap_err().to_string();
    assert!(error.contains("has no model.safetensors"), "{error}");
    fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    let error = import(dir.path()).unwrap_err().to_string();
    assert!(error.contains("pickle"), "{error}");
}
