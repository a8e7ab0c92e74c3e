//! The colours: one an arm, the same in every figure, told apart by colour-blind readers.
//!
//! The arms' colours are those of Okabe and Ito ("Color Universal Design", 2008) without the yellow,
//! which is lost on white; the baseline is grey. A page on a dark ground takes lighter ones of the same hues through CSS
//! variables; the files keep the colours for white.

/// What a shape is painted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// The ground.
    Paper,
    /// Text and axes.
    Ink,
    /// Text that may be overlooked.
    Muted,
    /// Grid lines.
    Grid,
    /// The colour of the arm at this position; colours repeat after eight arms.
    Arm(usize),
    /// Numbers that belong to no arm, such as an interaction.
    Effect,
}

/// Name of the CSS variable, colour on white, colour on dark. No two colours on white are equal.
const COLOURS: [(&str, u32, u32); 13] = [
    ("paper", 0xFFFFFF, 0x15181C),
    ("ink", 0x1F2328, 0xE6EAEF),
    ("muted", 0x59636E, 0x9AA4AF),
    ("grid", 0xDDE2E8, 0x2E353D),
    ("effect", 0x3B4250, 0xC3CBD5),
    ("arm-0", 0x6B7280, 0xA9B3BF),
    ("arm-1", 0x0072B2, 0x4DB2EC),
    ("arm-2", 0xD55E00, 0xFF8F3F),
    ("arm-3", 0x009E73, 0x2FD0A2),
    ("arm-4", 0xCC79A7, 0xEE9FCB),
    ("arm-5", 0xE69F00, 0xFFC24A),
    ("arm-6", 0x56B4E9, 0x8FD1F7),
    ("arm-7", 0x7A5C1E, 0xC9A75A),
];

const FIRST_ARM: usize = 5;

/// Number of arms that have a colour of their own.
pub(crate) const ARM_COLOURS: usize = COLOURS.len() - FIRST_ARM;

impl Paint {
    fn entry(self) -> (&'static str, u32, u32) {
        COLOURS[match self {
            Paint::Paper => 0,
            Paint::Ink => 1,
            Paint::Muted => 2,
            Paint::Grid => 3,
            Paint::Effect => 4,
            Paint::Arm(i) => FIRST_ARM + i % ARM_COLOURS,
        }]
    }

    /// Red, green and blue on white.
    pub(crate) fn rgb(self) -> (u8, u8, u8) {
        let [_, r, g, b] = self.entry().1.to_be_bytes();
        (r, g, b)
    }

    /// Name of the CSS variable.
    pub(crate) fn variable(self) -> &'static str {
        self.entry().0
    }
}

/// `--name: #colour;` of every colour, for light or dark pages.
pub(crate) fn variables(dark: bool) -> String {
    COLOURS
        .iter()
        .map(|(name, light, on_dark)| {
            let colour = if dark { on_dark } else { light };
            format!("--{name}: #{colour:06X}; ")
        })
        .collect()
}

/// Replaces the colours of a drawing by CSS variables.
pub(crate) fn with_variables(svg: &str) -> String {
    COLOURS
        .iter()
        .fold(svg.to_string(), |svg, (name, light, _)| {
            svg.replace(&format!("\"#{light:06X}\""), &format!("\"var(--{name})\""))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_on_white_are_told_apart() {
        let mut all: Vec<u32> = COLOURS.iter().map(|c| c.1).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), COLOURS.len());
    }

    #[test]
    fn drawings_follow_the_page() {
        let svg = with_variables("<rect fill=\"#FFFFFF\"/><line stroke=\"#0072B2\"/>");
        assert_eq!(
            svg,
            "<rect fill=\"var(--paper)\"/><line stroke=\"var(--arm-1)\"/>"
        );
        assert_eq!(Paint::Arm(1).rgb(), (0x00, 0x72, 0xB2));
    }
}
