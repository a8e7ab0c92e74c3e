//! A drawing as a list of shapes, in points from the upper left corner.
//!
//! Figures are put together here without a word about files or pixels.

use super::palette::{Paint, ARM_COLOURS};

/// Width of every figure.
pub(crate) const WIDTH: f64 = 900.0;

/// Where a text lies to its point, horizontally. Vertically it is always centred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// One shape.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// An open line.
    Path {
        points: Vec<(f64, f64)>,
        paint: Paint,
        width: f64,
    },
    /// A filled area.
    Area {
        points: Vec<(f64, f64)>,
        paint: Paint,
        opacity: f64,
    },
    /// A filled circle.
    Dot {
        centre: (f64, f64),
        radius: f64,
        paint: Paint,
        opacity: f64,
    },
    /// One line of text.
    Text {
        at: (f64, f64),
        text: String,
        size: f64,
        bold: bool,
        anchor: Anchor,
        paint: Paint,
    },
}

/// The shapes of a figure, later ones on top.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub height: f64,
    pub shapes: Vec<Shape>,
}

impl Scene {
    pub(crate) fn new(height: f64) -> Scene {
        Scene {
            height,
            shapes: Vec::new(),
        }
    }

    pub(crate) fn path(&mut self, points: &[(f64, f64)], paint: Paint, width: f64) {
        if points.len() > 1 {
            self.shapes.push(Shape::Path {
                points: points.to_vec(),
                paint,
                width,
            });
        }
    }

    /// A path of dashes, each `on` long with gaps of `off`.
    pub(crate) fn dashed(
        &mut self,
        points: &[(f64, f64)],
        paint: Paint,
        width: f64,
        (on, off): (f64, f64),
    ) {
        let mut dash: Vec<(f64, f64)> = Vec::new();
        let (mut drawing, mut left) = (true, on);
        for pair in points.windows(2) {
            let (mut from, to) = (pair[0], pair[1]);
            loop {
                let length = (to.0 - from.0).hypot(to.1 - from.1);
                if length <= 0.0 {
                    break;
                }
                if drawing && dash.is_empty() {
                    dash.push(from);
                }
                if length < left {
                    left -= length;
                    if drawing {
                        dash.push(to);
                    }
                    break;
                }
                let t = left / length;
                from = (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1));
                if drawing {
                    dash.push(from);
                    self.path(&dash, paint, width);
                    dash.clear();
                }
                drawing = !drawing;
                left = if drawing { on } else { off };
            }
        }
        self.path(&dash, paint, width);
    }

    pub(crate) fn area(&mut self, points: Vec<(f64, f64)>, paint: Paint, opacity: f64) {
        if points.len() > 2 {
            self.shapes.push(Shape::Area {
                points,
                paint,
                opacity,
            });
        }
    }

    pub(crate) fn dot(&mut self, centre: (f64, f64), radius: f64, paint: Paint, opacity: f64) {
        self.shapes.push(Shape::Dot {
            centre,
            radius,
            paint,
            opacity,
        });
    }

    pub(crate) fn text(
        &mut self,
        at: (f64, f64),
        text: impl Into<String>,
        size: f64,
        anchor: Anchor,
        paint: Paint,
    ) {
        self.shapes.push(Shape::Text {
            at,
            text: text.into(),
            size,
            bold: false,
            anchor,
            paint,
        });
    }

    pub(crate) fn heading(&mut self, at: (f64, f64), text: impl Into<String>, size: f64) {
        self.shapes.push(Shape::Text {
            at,
            text: text.into(),
            size,
            bold: true,
            anchor: Anchor::Start,
            paint: Paint::Ink,
        });
    }

    /// Rows of swatches with the arms' names from `top` on; returns the height taken.
    pub(crate) fn legend(&mut self, top: f64, left: f64, arms: &[(usize, &str)]) -> f64 {
        const ROW: f64 = 20.0;
        let (mut x, mut y) = (left, top + 0.5 * ROW);
        for &(arm, name) in arms {
            let width = 34.0 + text_width(name, 12.0) + 18.0;
            if x + width > WIDTH - 12.0 && x > left {
                x = left;
                y += ROW;
            }
            self.arm_path(&[(x, y), (x + 24.0, y)], arm, 3.0);
            self.text((x + 31.0, y), name, 12.0, Anchor::Start, Paint::Ink);
            x += width;
        }
        y + 0.5 * ROW - top
    }

    /// A line in an arm's colour; arms beyond the colours are dashed, so that they stay apart.
    pub(crate) fn arm_path(&mut self, points: &[(f64, f64)], arm: usize, width: f64) {
        if arm < ARM_COLOURS {
            self.path(points, Paint::Arm(arm), width);
        } else {
            self.dashed(points, Paint::Arm(arm), width, (7.0, 4.0));
        }
    }
}

/// About how wide a text is, without asking a font: figures leave enough room for any sans-serif.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    text.chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '.' | ',' | ':' | '|' | '\'' | ' ' => 0.34,
            'm' | 'w' | 'M' | 'W' | '+' | '−' => 0.86,
            c if c.is_uppercase() => 0.70,
            _ => 0.61,
        })
        .sum::<f64>()
        * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_their_share_of_the_way() {
        let mut scene = Scene::new(10.0);
        scene.dashed(
            &[(0.0, 0.0), (7.0, 0.0), (30.0, 0.0)],
            Paint::Ink,
            1.0,
            (4.0, 2.0),
        );
        let drawn: f64 = scene
            .shapes
            .iter()
            .map(|shape| match shape {
                Shape::Path { points, .. } => points[points.len() - 1].0 - points[0].0,
                _ => 0.0,
            })
            .sum();
        assert!((drawn - 20.0).abs() < 1e-9, "{drawn}");
        assert_eq!(scene.shapes.len(), 5);
    }
}
