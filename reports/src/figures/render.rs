//! Scenes into SVG and PNG by plotters, with the DejaVu font that is built in.

use std::path::Path;
use std::sync::OnceLock;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::prelude::{DrawingBackend, FontStyle, IntoFont, RGBAColor, ShapeStyle, TextStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::Paint;
use super::scene::{Anchor, Scene, Shape, WIDTH};
use crate::{files, ReportError};

/// Backends take whole pixels, so scenes are drawn this much larger: lines stay smooth in SVG, and the PNG is
/// averaged down from it.
const SCALE: f64 = 4.0;
/// Pixels of the drawing that make one pixel of the PNG, which thus has twice the scene's size.
const AVERAGED: usize = 2;
/// The family that figures ask for: DejaVu in a PNG, the reader's own in SVG.
const FAMILY: &str = "sans-serif";

/// A picture in red, green and blue bytes.
#[derive(Clone, Debug)]
pub(crate) struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

fn failed(figure: &str, detail: impl std::fmt::Display) -> ReportError {
    ReportError::Figure {
        figure: figure.to_string(),
        detail: detail.to_string(),
    }
}

/// Gives plotters the built-in font; without one it refuses any text.
fn register_fonts(figure: &str) -> Result<(), ReportError> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let done = REGISTERED.get_or_init(|| {
        use plotters::style::register_font;
        register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular()).is_ok()
            && register_font(FAMILY, FontStyle::Bold, dejavu::sans::bold()).is_ok()
    });
    if *done {
        Ok(())
    } else {
        Err(failed(figure, "the built-in font is not readable"))
    }
}

fn size(scene: &Scene) -> (u32, u32) {
    (
        (WIDTH * SCALE) as u32,
        (scene.height * SCALE).round() as u32,
    )
}

/// The scene as an SVG file.
pub(crate) fn svg(figure: &str, scene: &Scene) -> Result<String, ReportError> {
    register_fonts(figure)?;
    let (width, height) = size(scene);
    let mut text = String::new();
    {
        let mut backend = SVGBackend::with_string(&mut text, (width, height));
        paint(&mut backend, scene, false).map_err(|e| failed(figure, e))?;
    }
    // Shown at the scene's size; the view box keeps the finer coordinates. Noisy lines need round joins.
    let shown = (scene.height.round() as u32).max(1);
    Ok(text
        .replacen(
            &format!("<svg width=\"{width}\" height=\"{height}\""),
            &format!("<svg width=\"{}\" height=\"{shown}\"", WIDTH as u32),
            1,
        )
        .replace("<polyline ", "<polyline stroke-linejoin=\"round\" "))
}

/// The scene in pixels, twice the scene's size.
pub(crate) fn pixels(figure: &str, scene: &Scene) -> Result<Pixels, ReportError> {
    register_fonts(figure)?;
    let (width, height) = size(scene);
    let mut large = vec![255u8; (width * height * 3) as usize];
    {
        let mut backend = BitMapBackend::with_buffer(&mut large, (width, height));
        paint(&mut backend, scene, true).map_err(|e| failed(figure, e))?;
        backend.present().map_err(|e| failed(figure, e))?;
    }
    let (w, h) = (width as usize / AVERAGED, height as usize / AVERAGED);
    let mut rgb = Vec::with_capacity(w * h * 3);
    for y in 0..h {
        for x in 0..w {
            for channel in 0..3 {
                let mut sum = 0u32;
                for dy in 0..AVERAGED {
                    for dx in 0..AVERAGED {
                        let pixel = (y * AVERAGED + dy) * width as usize + x * AVERAGED + dx;
                        sum += u32::from(large[3 * pixel + channel]);
                    }
                }
                // A mean of bytes is a byte.
                rgb.push((sum / (AVERAGED * AVERAGED) as u32) as u8);
            }
        }
    }
    Ok(Pixels {
        width: w,
        height: h,
        rgb,
    })
}

/// Writes a PNG file, complete or not at all.
pub(crate) fn write_png(figure: &str, pixels: &Pixels, path: &Path) -> Result<(), ReportError> {
    // plotters chooses the format by the ending of the name.
    let unfinished = path.with_extension("unfinished.png");
    let size = (pixels.width as u32, pixels.height as u32);
    {
        let mut backend = BitMapBackend::new(&unfinished, size);
        backend
            .blit_bitmap((0, 0), size, &pixels.rgb)
            .and_then(|()| backend.present())
            .map_err(|e| failed(figure, e))?;
    }
    std::fs::rename(&unfinished, path).map_err(files::io_error("rename", path))
}

/// Draws the shapes. In `raster` drawings thick lines get round joints, which SVG has by itself.
fn paint<DB: DrawingBackend>(backend: &mut DB, scene: &Scene, raster: bool) -> Result<(), String> {
    let (width, height) = size(scene);
    let ground = style(Paint::Paper, 1.0, 1.0, true);
    // plotters does not export the type of a backend's error, only its text.
    backend
        .draw_rect((0, 0), (width as i32, height as i32), &ground, true)
        .map_err(|e| e.to_string())?;
    for shape in &scene.shapes {
        match shape {
            Shape::Path {
                points,
                paint,
                width,
            } => {
                let points: Vec<_> = points.iter().copied().map(at).collect();
                let style = style(*paint, 1.0, *width, false);
                if raster {
                    let joint = (style.stroke_width / 2).saturating_sub(1);
                    for pair in points.windows(2) {
                        let drawn = backend.draw_line(pair[0], pair[1], &style);
                        drawn.map_err(|e| e.to_string())?;
                    }
                    for &point in points.iter().skip(1).rev().skip(1).filter(|_| joint > 1) {
                        let drawn = backend.draw_circle(point, joint, &style, true);
                        drawn.map_err(|e| e.to_string())?;
                    }
                } else {
                    let drawn = backend.draw_path(points, &style);
                    drawn.map_err(|e| e.to_string())?;
                }
            }
            Shape::Area {
                points,
                paint,
                opacity,
            } => {
                let points: Vec<_> = points.iter().copied().map(at).collect();
                let style = style(*paint, *opacity, 1.0, true);
                let drawn = backend.fill_polygon(points, &style);
                drawn.map_err(|e| e.to_string())?;
            }
            Shape::Dot {
                centre,
                radius,
                paint,
                opacity,
            } => {
                let radius = (radius * SCALE).round() as u32;
                let style = style(*paint, *opacity, 1.0, true);
                let drawn = backend.draw_circle(at(*centre), radius, &style, true);
                drawn.map_err(|e| e.to_string())?;
            }
            Shape::Text {
                at: point,
                text,
                size,
                bold,
                anchor,
                paint,
            } => {
                let weight = if *bold {
                    FontStyle::Bold
                } else {
                    FontStyle::Normal
                };
                let horizontal = match anchor {
                    Anchor::Start => HPos::Left,
                    Anchor::Middle => HPos::Center,
                    Anchor::End => HPos::Right,
                };
                // plotters writes font-size = size / 1.24 into SVG.
                let colour = colour(*paint, 1.0);
                let style: TextStyle = (FAMILY, size * SCALE * 1.24, weight)
                    .into_font()
                    .color(&colour)
                    .pos(Pos::new(horizontal, VPos::Center));
                // plotters centres the box of a line, which in a bitmap puts the letters too high.
                let lower = if raster { 0.2 * size } else { 0.0 };
                let drawn = backend.draw_text(text, &style, at((point.0, point.1 + lower)));
                drawn.map_err(|e| e.to_string())?;
            }
        }
    }
    Ok(())
}

fn at((x, y): (f64, f64)) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

fn colour(paint: Paint, opacity: f64) -> RGBAColor {
    let (r, g, b) = paint.rgb();
    RGBAColor(r, g, b, opacity)
}

fn style(paint: Paint, opacity: f64, width: f64, filled: bool) -> ShapeStyle {
    ShapeStyle {
        color: colour(paint, opacity),
        filled,
        stroke_width: (width * SCALE).round() as u32,
    }
}
