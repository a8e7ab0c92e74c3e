//! The C functions of a data operator.

use ablate_abi::record_batch::{export, texts, TextColumn};
use ablate_abi::{column, ArrowArray, ArrowSchema, OperatorApi, OPERATOR_API};

use super::*;
use crate::{Document, Fate, Operator};

/// Marks the kind.
pub struct AnOperator;

impl<T: Operator> Offered<AnOperator> for T {
    const NAME: &'static str = T::NAME;
    const DESCRIPTION: &'static str = T::DESCRIPTION;
    const ID: &'static str = OPERATOR_API;
    type Config = T::Config;
    type Table = OperatorApi;
    const TABLE: OperatorApi = table::<T>();
}

const fn table<T: Operator>() -> OperatorApi {
    // SAFETY of all functions below: as for an objective.
    unsafe extern "C" fn make<T: Operator>(
        h: *const Host,
        c: Str,
        out: *mut *mut c_void,
    ) -> Status {
        unsafe { create::<T::Config, T>(h, c, out, T::new) }
    }
    unsafe extern "C" fn map<T: Operator>(
        i: *mut c_void,
        schema: *mut ArrowSchema,
        batch: *mut ArrowArray,
        out_schema: *mut ArrowSchema,
        out_batch: *mut ArrowArray,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, _| {
                if schema.is_null() || batch.is_null() {
                    return Err(Error::Other("there is no batch".into()));
                }
                // Read and left with the host, which releases it after the call.
                let (schema, batch) = (&*schema, &*batch);
                let read = |name| texts(schema, batch, name).map_err(Error::Other);
                let documents = read(column::ID)?.into_iter().zip(read(column::TEXT)?);
                let mut fates = Vec::new();
                for (id, text) in documents.clone() {
                    fates.push(plugin.apply(Document { id, text })?);
                }
                if fates.iter().all(|fate| *fate == Fate::Keep) {
                    return Ok(());
                }
                let (made_schema, made_batch) = export(written(documents.zip(fates))?);
                put(out_schema, made_schema)?;
                put(out_batch, made_batch)
            })
        }
    }
    OperatorApi {
        struct_size: size_of::<OperatorApi>() as u32,
        reserved: 0,
        create: Some(make::<T>),
        destroy: Some(destroy::<T>),
        filter: None,
        map: Some(map::<T>),
    }
}

/// The columns of the documents that stay.
fn written<'a>(
    documents: impl Iterator<Item = ((&'a str, &'a str), Fate)>,
) -> Result<Vec<TextColumn>> {
    let mut ids = TextColumn::new(c"id");
    let mut texts = TextColumn::new(c"text");
    let long = |_| Error::Other("the texts of one batch take more than 2 GiB".into());
    for ((id, text), fate) in documents {
        match fate {
            Fate::Keep => texts.push(text).map_err(long)?,
            Fate::Rewrite(text) => texts.push(&text).map_err(long)?,
            Fate::Remove => continue,
        }
        ids.push(id).map_err(long)?;
    }
    Ok(vec![ids, texts])
}
