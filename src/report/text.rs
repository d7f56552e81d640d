//! Text inside markup.

use std::borrow::Cow;

/// Text that may stand between tags and in attributes of HTML and SVG. Characters that XML forbids and those that turn
/// the direction of text become the replacement character.
pub fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '<' | '>' | '&' | '"' | '\'') || forbidden(c);
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if forbidden(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

fn forbidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Takes the middle out of a text that is longer than so many characters; both ends tell names apart.
pub fn shorten(text: &str, longest: usize) -> Cow<'_, str> {
    let length = text.chars().count();
    if length <= longest {
        return Cow::Borrowed(text);
    }
    let kept = longest.saturating_sub(1).max(2);
    let head = kept.div_ceil(2);
    let tail = kept - head;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    Cow::Owned(format!("{start}…{end}"))
}

/// Width of a text in the regular Roboto, in the unit of the font size; other fonts of its kind differ by some percent.
pub fn width(text: &str, size: f64) -> f64 {
    // hundredths of the font size, U+0020 to U+007E
    const ADVANCES: [u8; 95] = [
        25, 26, 32, 62, 56, 73, 62, 17, 34, 35, 43, 57, 20, 28, 26, 41, 56, 56, 56, 56, 56, 56, 56, 56, 56, 56, 24, 21,
        51, 55, 52, 47, 90, 65, 62, 65, 66, 57, 55, 68, 71, 27, 55, 63, 54, 87, 71, 69, 63, 69, 62, 59, 60, 65, 64, 89,
        63, 60, 60, 27, 41, 27, 42, 45, 31, 54, 56, 52, 56, 53, 35, 56, 55, 24, 24, 51, 24, 88, 55, 57, 56, 57, 34, 52,
        33, 55, 48, 75, 50, 47, 50, 34, 24, 34, 68,
    ];
    let advance = |c: char| {
        let index = (c as usize).checked_sub(0x20);
        // beyond Latin, letters may be as wide as high
        index.and_then(|index| ADVANCES.get(index)).copied().unwrap_or(if c < '\u{2e80}' { 60 } else { 100 })
    };
    text.chars().map(|c| f64::from(advance(c))).sum::<f64>() * size / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_becomes_markup() {
        assert_eq!(escape("<script>\"a\" & 'b'"), "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;");
        assert_eq!(escape("a\u{0}b\u{1b}\u{202e}c\nd"), "a\u{fffd}b\u{fffd}\u{fffd}c\nd");
        assert!(matches!(escape("größe/π"), Cow::Borrowed(_)));
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shorten("fashion_mnist_test_images", 10), "fashi…ages");
        assert_eq!(shorten("short", 10), "short");
    }

    #[test]
    fn widths() {
        assert!((width("000", 10.0) - 16.8).abs() < 1e-9);
        assert!(width("iii", 10.0) < width("mmm", 10.0));
    }
}
