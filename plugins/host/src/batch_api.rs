//! The tables through which plugins answer with lists and labels.
//!
//! SAFETY of every function here: as in [`graph_api`](crate::graph_api).

use std::collections::BTreeMap;

use ablate_abi::{
    layout, read_sized, BatchApi, BatchContext, DeclareApi, FeatureSpec, SlotSpec, Status, Str,
};
use ablate_train::{Feature, IGNORED};

use crate::context::{answer, array, context, text, Refusal, Tag};
use crate::graph_api::shape;

/// A feature that an objective has declared.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub name: String,
    pub per_token: bool,
    /// 0 stands for the size of the vocabulary.
    pub classes: u64,
}

/// Where declarations go. Each call into a plugin expects one kind; the others stay empty.
#[repr(C)]
pub(crate) struct DeclareCx {
    tag: Tag,
    pub features: Vec<Declared>,
    pub slots: Vec<ablate_train::SlotSpec>,
    pub scalars: Vec<String>,
}

impl DeclareCx {
    pub fn new() -> Self {
        DeclareCx {
            tag: Tag::Declare,
            features: vec![],
            slots: vec![],
            scalars: vec![],
        }
    }
}

fn name_of<'a>(
    name: Str,
    what: &str,
    mut known: impl Iterator<Item = &'a str>,
) -> Result<String, Refusal> {
    // SAFETY: see the module.
    let name = unsafe { text(name, what) }?;
    if name.is_empty() {
        return Err(Refusal::invalid(format!("{what} is empty")));
    }
    if known.any(|k| k == name) {
        return Err(Refusal::invalid(format!(
            "{what} `{name}` is declared twice"
        )));
    }
    Ok(name.to_owned())
}

fn sized<T: ablate_abi::SizeGated>(spec: *const T) -> Result<T, Refusal> {
    // SAFETY: see the module.
    unsafe { read_sized(spec) }.map_err(|e| Refusal::invalid(format!("the declaration: {e:?}")))
}

unsafe extern "C" fn feature(
    into: *mut ablate_abi::Declarations,
    spec: *const FeatureSpec,
) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let cx: &mut DeclareCx = unsafe { context(into, Tag::Declare) }?;
        let spec = sized(spec)?;
        let known = cx.features.iter().map(|f| f.name.as_str());
        let name = name_of(spec.name, "the feature", known)?;
        let per_token = match spec.layout {
            layout::PER_TOKEN => true,
            layout::PER_SEQUENCE => false,
            other => {
                return Err(Refusal::invalid(format!(
                    "{other} is no layout of a feature"
                )));
            }
        };
        cx.features.push(Declared {
            name,
            per_token,
            classes: spec.classes,
        });
        Ok(())
    })
}

unsafe extern "C" fn slot(into: *mut ablate_abi::Declarations, spec: *const SlotSpec) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let cx: &mut DeclareCx = unsafe { context(into, Tag::Declare) }?;
        let spec = sized(spec)?;
        let name = name_of(
            spec.name,
            "the slot",
            cx.slots.iter().map(|s| s.name.as_str()),
        )?;
        // SAFETY: see the module.
        let shape = unsafe { shape(spec.dims, spec.rank) }?;
        cx.slots.push(ablate_train::SlotSpec {
            name,
            shape,
            initial: spec.initial as f32,
        });
        Ok(())
    })
}

unsafe extern "C" fn scalar(into: *mut ablate_abi::Declarations, name: Str) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let cx: &mut DeclareCx = unsafe { context(into, Tag::Declare) }?;
        let name = name_of(name, "the scalar", cx.scalars.iter().map(String::as_str))?;
        cx.scalars.push(name);
        Ok(())
    })
}

/// The table behind [`ablate_abi::DECLARE_API`].
pub(crate) static DECLARE: DeclareApi = DeclareApi {
    struct_size: size_of::<DeclareApi>() as u32,
    reserved: 0,
    feature: Some(feature),
    slot: Some(slot),
    scalar: Some(scalar),
};

/// A micro-batch in an objective's data hook.
#[repr(C)]
pub(crate) struct BatchCx<'a> {
    tag: Tag,
    pub declared: &'a [Declared],
    pub batch: usize,
    pub seq: usize,
    pub vocab_size: u64,
    pub written: BTreeMap<String, Feature>,
}

impl<'a> BatchCx<'a> {
    pub fn new(declared: &'a [Declared], batch: usize, seq: usize, vocab_size: u64) -> Self {
        BatchCx {
            tag: Tag::Batch,
            declared,
            batch,
            seq,
            vocab_size,
            written: BTreeMap::new(),
        }
    }
}

unsafe extern "C" fn write_feature(
    cx: *mut BatchContext,
    name: Str,
    labels: *const i64,
    count: usize,
) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let cx: &mut BatchCx<'_> = unsafe { context(cx, Tag::Batch) }?;
        // SAFETY: see the module.
        let (name, labels) = unsafe {
            (
                text(name, "the feature's name")?,
                array(labels, count, "the labels")?,
            )
        };
        let spec =
            cx.declared.iter().find(|d| d.name == name).ok_or_else(|| {
                Refusal::unknown(format!("the feature `{name}` was not declared"))
            })?;
        let expected = if spec.per_token {
            cx.batch * cx.seq
        } else {
            cx.batch
        };
        if count != expected {
            return Err(Refusal::invalid(format!(
                "the feature `{name}` has {count} labels, the batch needs {expected}"
            )));
        }
        let classes = if spec.classes == 0 {
            cx.vocab_size
        } else {
            spec.classes
        };
        let allowed = |label: i64| {
            label == IGNORED || u64::try_from(label).is_ok_and(|label| label < classes)
        };
        if let Some(wrong) = labels.iter().find(|label| !allowed(**label)) {
            return Err(Refusal::invalid(format!(
                "the feature `{name}` has the label {wrong}; labels are in 0..{classes}, or {IGNORED}"
            )));
        }
        let feature = if spec.per_token {
            Feature::PerToken(labels.to_vec())
        } else {
            Feature::PerSequence(labels.to_vec())
        };
        cx.written.insert(name.to_owned(), feature);
        Ok(())
    })
}

/// The table behind [`ablate_abi::BATCH_API`].
pub(crate) static BATCH: BatchApi = BatchApi {
    struct_size: size_of::<BatchApi>() as u32,
    reserved: 0,
    write_feature: Some(write_feature),
};
