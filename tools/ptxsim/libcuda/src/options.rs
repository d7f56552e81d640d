//! What can be set: by `CUDA_STANDIN` for all devices, by `standin_set` for one.

/// The environment variable.
pub(crate) const VARIABLE: &str = "CUDA_STANDIN";

/// The options of one device.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) driver: u32,
    pub(crate) capability: u32,
    shared: Option<u32>,
    multiprocessors: Option<u32>,
    pub(crate) memory: u64,
    pub(crate) fail_allocation: Countdown,
    pub(crate) fail_load: Countdown,
    pub(crate) fail_launch: Countdown,
    pub(crate) launch_error: u32,
    pub(crate) order: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            driver: 12_000,
            capability: 80,
            shared: None,
            multiprocessors: None,
            memory: 16 << 30,
            fail_allocation: Countdown::default(),
            fail_load: Countdown::default(),
            fail_launch: Countdown::default(),
            launch_error: 701,
            order: 0,
        }
    }
}

impl Options {
    /// Sets one; false if there is none of that name, or the value does not fit it.
    #[must_use]
    pub(crate) fn set(&mut self, name: &str, value: u64) -> bool {
        let Ok(small) = u32::try_from(value) else {
            return match name {
                "memory" => replace(&mut self.memory, value),
                "order" => replace(&mut self.order, value),
                _ => false,
            };
        };
        match name {
            "driver" => replace(&mut self.driver, small),
            "capability" => replace(&mut self.capability, small),
            "shared" => replace(&mut self.shared, Some(small)),
            "multiprocessors" => replace(&mut self.multiprocessors, Some(small)),
            "memory" => replace(&mut self.memory, value),
            "fail_allocation" => replace(&mut self.fail_allocation, Countdown(small)),
            "fail_load" => replace(&mut self.fail_load, Countdown(small)),
            "fail_launch" => replace(&mut self.fail_launch, Countdown(small)),
            "launch_error" => replace(&mut self.launch_error, small),
            "order" => replace(&mut self.order, value),
            _ => false,
        }
    }

    /// Shared memory a block may opt in to, in bytes.
    pub(crate) fn shared(&self) -> u32 {
        self.shared.unwrap_or(match self.capability {
            80 | 87 => 163 << 10,
            90 | 100.. => 227 << 10,
            75 => 64 << 10,
            _ => 99 << 10,
        })
    }

    pub(crate) fn multiprocessors(&self) -> u32 {
        self.multiprocessors.unwrap_or(match self.capability {
            80 => 108,
            90 => 132,
            _ => 84,
        })
    }

    /// The newest PTX that a driver of that CUDA version takes: 11.x takes 7.x, 12 has a table, 13.x takes 9.x.
    pub(crate) fn newest_ptx(&self) -> (u32, u32) {
        let (major, minor) = (self.driver / 1000, self.driver % 1000 / 10);
        match major {
            12 => (8, [0, 1, 2, 3, 4, 5, 5, 6, 7, 8][minor.min(9) as usize]),
            _ => (major - major.min(4), minor),
        }
    }
}

fn replace<T>(field: &mut T, value: T) -> bool {
    *field = value;
    true
}

/// Strikes once, at the n-th time from when it was set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Countdown(u32);

impl Countdown {
    /// Whether this is the time.
    pub(crate) fn strikes(&mut self) -> bool {
        let strikes = self.0 == 1;
        self.0 = self.0.saturating_sub(1);
        strikes
    }
}

/// The number of devices and the options they start with.
///
/// # Errors
/// A sentence on what is wrong with the variable.
pub(crate) fn from_environment(text: &str) -> Result<(usize, Options), String> {
    let (mut devices, mut options) = (4, Options::default());
    for setting in text.split([' ', ',']).filter(|setting| !setting.is_empty()) {
        let parsed = setting.split_once('=').and_then(|(name, value)| Some((name, value.parse::<u64>().ok()?)));
        let known = match parsed {
            Some(("devices", count)) => count <= 64 && replace(&mut devices, count as usize),
            Some((name, value)) => options.set(name, value),
            None => false,
        };
        if !known {
            return Err(format!(
                "{VARIABLE}: '{setting}' is not an option with a number, such as devices=2; see the README"
            ));
        }
    }
    Ok((devices, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read() {
        let (devices, options) = from_environment("devices=2 driver=11080,capability=86").unwrap();
        assert_eq!((devices, options.newest_ptx(), options.shared()), (2, (7, 8), 101_376));
        let sentence = from_environment("devices").unwrap_err();
        assert!(sentence.contains("'devices'"), "{sentence}");
        assert!(from_environment("colour=3").is_err() && from_environment("shared=99999999999").is_err());
    }

    #[test]
    fn drivers_take_the_ptx_of_their_time() {
        for (driver, ptx) in [(11_080, (7, 8)), (12_000, (8, 0)), (12_060, (8, 5)), (12_090, (8, 8)), (13_010, (9, 1))]
        {
            assert_eq!(Options { driver, ..Options::default() }.newest_ptx(), ptx);
        }
    }

    #[test]
    fn a_countdown_strikes_once() {
        let mut countdown = Countdown(2);
        assert_eq!([(); 4].map(|()| countdown.strikes()), [false, true, false, false]);
        assert!(!Countdown::default().strikes());
    }
}
