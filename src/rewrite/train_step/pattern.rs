//! Names with `*` and `?`, as shells match them.

/// Whether a name matches: `*` is any text, `?` any one character, all else is meant literally.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // where to go on if what follows the last star does not fit
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || Some(&c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|&c| c == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name) in [
            ("fc1.weight", "fc1.weight"),
            ("*", ""),
            ("*", "x"),
            ("features.*", "features.0.weight"),
            ("*.bias", "fc1.bias"),
            ("*.?.bias", "blocks.0.1.bias"),
            ("*a*b*", "xxaaxbbx"),
            ("größe.*", "größe.1"),
            ("a**c", "abc"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("fc1", "fc1.weight"),
            ("", "x"),
            ("?", ""),
            ("features.*", "feature.0"),
            ("*.bias", "fc1.bias.1"),
            ("fc1.weight", "fc1xweight"),
            ("[ab]", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_take_forever() {
        let pattern = "*a".repeat(40);
        assert!(!matches(&pattern, &"a".repeat(39)));
        assert!(!matches(&format!("{pattern}b"), &"a".repeat(5000)));
    }
}
