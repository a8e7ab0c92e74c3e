//! The figures of a report, each as SVG and PNG from one drawing.
//!
//! Owns which figures there are and their files. A figure is a [`scene::Scene`] in points of a page 900 wide;
//! only `render` names plotters.

mod axes;
mod compute;
mod forest;
mod palette;
mod panels;
mod render;
mod scene;

use std::path::{Path, PathBuf};

use crate::analysis::Analysis;
use crate::{files, ReportError};

pub(crate) use palette::variables as colour_variables;

/// A drawn figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// File name without its ending, also the anchor in the page.
    pub name: String,
    /// Heading.
    pub title: String,
    /// What is seen and how to read it.
    pub caption: String,
    /// The drawing as a file of its own, on white.
    pub svg: String,
    /// The drawing in pixels.
    pixels: render::Pixels,
}

impl Figure {
    fn new(
        name: &str,
        title: String,
        caption: String,
        scene: &scene::Scene,
    ) -> Result<Figure, ReportError> {
        Ok(Figure {
            name: name.to_string(),
            title,
            caption,
            svg: render::svg(name, scene)?,
            pixels: render::pixels(name, scene)?,
        })
    }

    /// The drawing for a page with light and dark colours: no namespace, no fixed size, colours as CSS variables.
    pub(crate) fn inline_svg(&self) -> String {
        palette::with_variables(&self.svg)
            .replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1)
            .replacen("<svg ", "<svg role=\"img\" ", 1)
    }
}

/// Draws every figure that the records have something for.
pub(crate) fn draw_all(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    let mut figures = Vec::new();
    figures.extend(forest::draw(analysis)?);
    for measure in &analysis.measures {
        figures.extend(panels::measure(analysis, measure)?);
    }
    figures.extend(compute::draw(analysis)?);
    figures.extend(panels::optimisation(analysis)?);
    Ok(figures)
}

/// Writes `<name>.svg` and `<name>.png` of every figure into a folder.
pub(crate) fn write_all(folder: &Path, figures: &[Figure]) -> Result<Vec<PathBuf>, ReportError> {
    files::create_folder(folder)?;
    let mut paths = Vec::new();
    for figure in figures {
        let svg = folder.join(format!("{}.svg", figure.name));
        files::write_atomically(&svg, figure.svg.as_bytes())?;
        let png = folder.join(format!("{}.png", figure.name));
        render::write_png(&figure.name, &figure.pixels, &png)?;
        paths.extend([svg, png]);
    }
    Ok(paths)
}

/// The CSS variable of the colour of the arm at a position.
pub(crate) fn arm_variable(arm: usize) -> &'static str {
    palette::Paint::Arm(arm).variable()
}
