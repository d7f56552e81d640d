//! Numbers as readers like them.

/// A number with so many digits after the point, and a real minus.
pub fn fixed(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞".to_owned() } else { "\u{2212}∞".to_owned() };
    }
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|c| matches!(c, b'0' | b'.')) => rest.to_owned(),
        Some(rest) => format!("\u{2212}{rest}"),
        None => text,
    }
}

/// A share in percent, without the sign: 0.98345 is "98.35". Only what is 100 % is called so.
pub fn percent(share: f64, digits: usize) -> String {
    let text = fixed(share * 100.0, digits);
    let rounded_to_all = share < 1.0 && text.starts_with("100");
    let rounded_to_none = share > 0.0 && text.bytes().all(|c| matches!(c, b'0' | b'.'));
    if rounded_to_all {
        format!("99.{}", "9".repeat(digits.max(1)))
    } else if rounded_to_none {
        format!("0.{}1", "0".repeat(digits.max(1) - 1))
    } else {
        text
    }
}

/// A number to about four significant digits.
pub fn general(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size.is_finite() && !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}").replace('-', "\u{2212}");
    }
    let digits = if size >= 1000.0 {
        0
    } else if size >= 100.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        4
    };
    fixed(value, digits)
}

/// A count with a thin space between thousands.
pub fn count(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(fixed(-1.25, 1), "\u{2212}1.2");
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(fixed(f64::NEG_INFINITY, 2), "\u{2212}∞");
        assert_eq!(percent(0.98345, 1), "98.3");
        assert_eq!(percent(0.999_99, 2), "99.99");
        assert_eq!(percent(1.0, 2), "100.00");
        assert_eq!(percent(0.000_001, 2), "0.01");
        assert_eq!(percent(0.0, 1), "0.0");
        assert_eq!(general(-7.8412), "\u{2212}7.84");
        assert_eq!(general(0.0419), "0.0419");
        assert_eq!(general(12345.6), "12346");
        assert_eq!(general(1e-9), "1.00e\u{2212}9");
        assert_eq!(count(10_000), "10\u{202f}000");
        assert_eq!(count(1_234), "1234");
    }
}
