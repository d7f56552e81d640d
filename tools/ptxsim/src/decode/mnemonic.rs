//! An instruction's name and what stands behind its dots.

use crate::arithmetic::rounding::Rounding;
use crate::types::Type;

/// Modifiers are taken one by one; what is left over in the end is unknown.
pub(crate) struct Mnemonic<'a> {
    pub(crate) opcode: &'a str,
    modifiers: Vec<&'a str>,
}

impl<'a> Mnemonic<'a> {
    pub(crate) fn new(name: &'a str) -> Self {
        let mut parts = name.split('.');
        Mnemonic { opcode: parts.next().unwrap_or(""), modifiers: parts.collect() }
    }

    pub(crate) fn take(&mut self, modifier: &str) -> bool {
        self.take_any(&[modifier]).is_some()
    }

    pub(crate) fn has(&self, modifier: &str) -> bool {
        self.modifiers.contains(&modifier)
    }

    /// The first modifier that is one of these.
    pub(crate) fn take_any(&mut self, known: &[&str]) -> Option<&'a str> {
        let place = self.modifiers.iter().position(|modifier| known.contains(modifier))?;
        Some(self.modifiers.remove(place))
    }

    /// Drops all modifiers with this start: hints to caches.
    pub(crate) fn drop_starting_with(&mut self, prefix: &str) {
        self.modifiers.retain(|modifier| !modifier.starts_with(prefix));
    }

    /// The modifier that comes next, whatever it is.
    pub(crate) fn take_first(&mut self) -> Result<&'a str, String> {
        if self.modifiers.is_empty() {
            return Err(format!("{} needs a modifier", self.opcode));
        }
        Ok(self.modifiers.remove(0))
    }

    /// The first modifier that is a type.
    pub(crate) fn take_type(&mut self) -> Result<Type, String> {
        self.take_optional_type().ok_or_else(|| format!("{} has no type that is known", self.opcode))
    }

    pub(crate) fn take_optional_type(&mut self) -> Option<Type> {
        let place = self.modifiers.iter().position(|modifier| Type::parse(modifier).is_some())?;
        Type::parse(self.modifiers.remove(place))
    }

    /// `.rn .rz .rm .rp`, or `i` behind them for rounding to integers.
    pub(crate) fn take_rounding(&mut self) -> Option<Rounding> {
        match self.take_any(&["rn", "rz", "rm", "rp"])? {
            "rn" => Some(Rounding::Nearest),
            "rz" => Some(Rounding::Zero),
            "rm" => Some(Rounding::Down),
            _ => Some(Rounding::Up),
        }
    }

    pub(crate) fn take_integer_rounding(&mut self) -> Option<Rounding> {
        match self.take_any(&["rni", "rzi", "rmi", "rpi"])? {
            "rni" => Some(Rounding::Nearest),
            "rzi" => Some(Rounding::Zero),
            "rmi" => Some(Rounding::Down),
            _ => Some(Rounding::Up),
        }
    }

    /// Every modifier was understood.
    pub(crate) fn finish(&self) -> Result<(), String> {
        match self.modifiers.first() {
            None => Ok(()),
            Some(modifier) => Err(format!(".{modifier} of {} isn't known", self.opcode)),
        }
    }
}
