//! The tables of a report as CSV and Parquet: trials, arms and effects.

use std::path::{Path, PathBuf};

use polars::prelude::*;

use crate::analysis::Analysis;
use crate::files::{create_folder, write_atomically};
use crate::metrics::parquet_bytes;
use crate::statistics::Estimate;
use crate::ReportError;

/// Writes `<name>.csv` and `<name>.parquet` of every table into a folder.
pub(crate) fn write_all(folder: &Path, analysis: &Analysis) -> Result<Vec<PathBuf>, ReportError> {
    create_folder(folder)?;
    let tables = [
        ("trials", analysis.trials.clone()),
        ("arms", arms(analysis)?),
        ("effects", effects(analysis)?),
    ];
    let mut paths = Vec::new();
    for (name, mut frame) in tables {
        let csv = folder.join(format!("{name}.csv"));
        let mut bytes = Vec::new();
        CsvWriter::new(&mut bytes).finish(&mut frame)?;
        write_atomically(&csv, &bytes)?;
        let parquet = folder.join(format!("{name}.parquet"));
        write_atomically(&parquet, &parquet_bytes(&mut frame)?)?;
        paths.extend([csv, parquet]);
    }
    Ok(paths)
}

/// One row an arm, with every held-out metric (mean and standard deviation over the compared trials).
fn arms(analysis: &Analysis) -> Result<DataFrame, ReportError> {
    let arms = &analysis.arms;
    let number = |name: &str, of: &dyn Fn(&crate::analysis::ArmSummary) -> Option<f64>| {
        let values: Vec<Option<f64>> = arms.iter().map(of).collect();
        Column::new(name.into(), values)
    };
    let words = |of: &dyn Fn(&crate::analysis::ArmSummary) -> Option<String>| {
        arms.iter().map(of).collect::<Vec<Option<String>>>()
    };
    let compared: Vec<u32> = arms.iter().map(|a| a.compared as u32).collect();
    let mut columns = vec![
        Column::new("arm".into(), words(&|a| Some(a.arm.name.clone()))),
        Column::new("data".into(), words(&|a| a.arm.data.clone())),
        Column::new("model".into(), words(&|a| a.arm.model.clone())),
        Column::new("trials".into(), compared),
    ];
    for measure in &analysis.measures {
        let full = format!("{}_{measure}", analysis.outcome.split);
        columns.push(number(&full, &|a| Some(a.held_out.get(measure)?.mean)));
        columns.push(number(&format!("{full}_sd"), &|a| {
            a.held_out.get(measure)?.standard_deviation
        }));
    }
    columns.extend([
        number("parameters", &|a| a.parameters),
        number("steps", &|a| a.steps),
        number("tokens", &|a| a.tokens),
        number("flops", &|a| a.flops),
        number("seconds", &|a| a.seconds),
        number("difference", &|a| Some(a.difference.as_ref()?.mean)),
        number("difference_lower", &|a| {
            Some(a.difference.as_ref()?.interval?.lower)
        }),
        number("difference_upper", &|a| {
            Some(a.difference.as_ref()?.interval?.upper)
        }),
    ]);
    Ok(DataFrame::new(arms.len(), columns)?)
}

/// One row an effect of a pair, and one a contrast of a data arm with a model arm.
fn effects(analysis: &Analysis) -> Result<DataFrame, ReportError> {
    let name = |arm: usize| analysis.arms[arm].arm.name.clone();
    let mut rows: Vec<(&str, String, String, &Estimate)> = Vec::new();
    for pair in &analysis.pairs {
        for (effect, estimate) in [
            ("data_alone", &pair.data_alone),
            ("model_alone", &pair.model_alone),
            ("interaction", &pair.interaction),
            ("both", &pair.total),
            ("data_main", &pair.data_main),
            ("model_main", &pair.model_main),
        ] {
            rows.push((effect, name(pair.data), name(pair.model), estimate));
        }
    }
    for contrast in &analysis.contrasts {
        let (data, model) = (name(contrast.data), name(contrast.model));
        rows.push(("data_minus_model", data, model, &contrast.difference));
    }
    fn column<T>(
        rows: &[(&str, String, String, &Estimate)],
        name: &str,
        of: impl Fn(&(&str, String, String, &Estimate)) -> T,
    ) -> Column
    where
        Series: NamedFrom<Vec<T>, [T]>,
        Vec<T>: AsRef<[T]>,
    {
        let cells: Vec<T> = rows.iter().map(of).collect();
        Series::new(name.into(), cells).into()
    }
    let columns = vec![
        column(&rows, "effect", |r| r.0.to_string()),
        column(&rows, "data_arm", |r| r.1.clone()),
        column(&rows, "model_arm", |r| r.2.clone()),
        column(&rows, "mean", |r| r.3.mean),
        column(&rows, "standard_deviation", |r| r.3.standard_deviation),
        column(&rows, "lower", |r| r.3.interval.map(|i| i.lower)),
        column(&rows, "upper", |r| r.3.interval.map(|i| i.upper)),
        column(&rows, "seeds", |r| r.3.seeds() as u32),
    ];
    Ok(DataFrame::new(rows.len(), columns)?)
}
