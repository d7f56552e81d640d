//! The size of the last-level cache.

use std::fs;

/// What is assumed where the system does not say.
const ASSUMED: usize = 64 << 20;

/// Bytes of the largest cache of the first core, from /sys on Linux.
pub fn last_level() -> usize {
    let size = |index: usize| {
        let text = fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size")).ok()?;
        let text = text.trim();
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let factor = match unit {
            "K" => 1 << 10,
            "M" => 1 << 20,
            "" => 1,
            _ => return None,
        };
        Some(number.parse::<usize>().ok()? * factor)
    };
    (0..8).filter_map(size).max().unwrap_or_else(|| {
        eprintln!("the size of the last-level cache is unknown here; 64 MiB assumed");
        ASSUMED
    })
}
