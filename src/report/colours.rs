//! Colours that people with any colour vision tell apart (Okabe and Ito, 2008; lighter ones on dark ground).

use std::fmt::Write as _;

/// Name of a colour, on light ground, on dark ground.
const COLOURS: [(&str, &str, &str); 21] = [
    ("page", "#f6f7f9", "#14171c"),
    ("card", "#ffffff", "#1d2128"),
    ("edge", "#e2e6eb", "#30363f"),
    ("ink", "#1b2129", "#e8ebef"),
    ("soft", "#5a6572", "#a2acb8"),
    ("grid", "#e9ecf0", "#2b313a"),
    ("axis", "#9aa4af", "#67717d"),
    ("mark", "#1b2129", "#f2f4f7"),
    ("in", "#0072b2", "#56b4e9"),
    ("out0", "#d55e00", "#f58442"),
    ("out1", "#009e73", "#2fc79b"),
    ("out2", "#a8548c", "#e08fc4"),
    ("out3", "#b8860b", "#e9c04a"),
    ("out4", "#6a51a3", "#a996e0"),
    ("out5", "#4d4d4d", "#c4c9cf"),
    ("right", "#009e73", "#2fc79b"),
    ("wrong", "#a8548c", "#e08fc4"),
    ("bar", "#7fb8d8", "#3f7fa8"),
    ("gap", "#d55e00", "#f58442"),
    ("good", "#e6f2f9", "#1d3442"),
    ("shade", "#f0f2f5", "#262b33"),
];

/// Out-of-distribution sets that have a colour of their own; further ones take them in turn, dashed.
const SETS: usize = 6;

/// Class of a set's colour: 0 is the in-distribution set.
pub fn class_of_set(index: usize) -> String {
    match index.checked_sub(1) {
        None => "in".to_owned(),
        Some(out) if out < SETS => format!("out{out}"),
        Some(out) => format!("out{} again", out % SETS),
    }
}

/// Custom properties of a page, for light and dark.
pub fn properties() -> String {
    let block = |choose: fn(&(&str, &str, &str)) -> String| COLOURS.iter().map(choose).collect::<String>();
    let light = block(|(name, light, _)| format!("--{name}:{light};"));
    let dark = block(|(name, _, dark)| format!("--{name}:{dark};"));
    format!(
        ":root{{color-scheme:light dark;{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    )
}

/// A style sheet with its `var(--name)` replaced by the colours on light ground.
pub fn resolved(style: &str) -> String {
    let mut style = style.to_owned();
    for (name, light, _) in COLOURS {
        style = style.replace(&format!("var(--{name})"), light);
    }
    style
}

/// The rules of charts, in custom properties.
pub fn chart_style() -> String {
    let mut style = include_str!("chart.css").to_owned();
    let names = (0..SETS).map(|index| format!("out{index}"));
    for name in ["in", "right", "wrong"].map(str::to_owned).into_iter().chain(names) {
        let _ = writeln!(
            style,
            ".area.{name}{{fill:var(--{name})}}.curve.{name}{{stroke:var(--{name})}}.dot.{name}{{fill:var(--{name})}}"
        );
    }
    style
}
