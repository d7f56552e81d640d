//! Operands as they are written.

use crate::lexer::{Token, TokenKind};
use crate::types::Type;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Integer(u64),
    Single(u32),
    Double(f64),
}

impl Number {
    /// The bits that stand for it in an instruction of this type.
    pub(crate) fn bits(self, of: Type) -> u64 {
        match (self, of) {
            (Number::Integer(value), _) => value & of.mask(),
            (Number::Single(bits), Type::F64) => f64::from(f32::from_bits(bits)).to_bits(),
            (Number::Single(bits), _) => bits.into(),
            (Number::Double(value), Type::F32) => (value as f32).to_bits().into(),
            (Number::Double(value), _) => value.to_bits(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand<'a> {
    /// A register, variable, label or function, or `_`.
    Name(&'a str),
    /// `variable+4`
    Sum(&'a str, i64),
    Number(Number),
    /// `{a, b}`
    Vector(Vec<Operand<'a>>),
    /// `(a, b)`
    List(Vec<Operand<'a>>),
    /// `[a+4]`; `None` where it starts with a number.
    Address(Option<&'a str>, i64),
    /// `!p`
    Not(&'a str),
    /// `p|q`
    Pair(&'a str, &'a str),
}

/// The operands of an instruction, whose name and guard are gone.
pub(crate) fn operands<'a>(tokens: &[Token<'a>]) -> Result<Vec<Operand<'a>>, String> {
    let mut parser = Parser { tokens, at: 0 };
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    let operands = parser.list(None)?;
    if parser.at < tokens.len() { Err("there is something behind the operands".into()) } else { Ok(operands) }
}

struct Parser<'a, 't> {
    tokens: &'t [Token<'a>],
    at: usize,
}

impl<'a> Parser<'a, '_> {
    fn next(&mut self) -> Option<TokenKind<'a>> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token.kind)
    }

    fn accept(&mut self, mark: char) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.kind == TokenKind::Mark(mark));
        self.at += usize::from(found);
        found
    }

    /// Up to the mark that closes the list.
    fn list(&mut self, close: Option<char>) -> Result<Vec<Operand<'a>>, String> {
        let mut operands = Vec::new();
        if close.is_some_and(|mark| self.accept(mark)) {
            return Ok(operands);
        }
        loop {
            operands.push(self.operand()?);
            if !self.accept(',') {
                break;
            }
        }
        match close {
            Some(mark) if !self.accept(mark) => Err(format!("{mark:?} is missing")),
            _ => Ok(operands),
        }
    }

    fn operand(&mut self) -> Result<Operand<'a>, String> {
        match self.next().ok_or("an operand is missing")? {
            TokenKind::Mark('{') => Ok(Operand::Vector(self.flat_list('}')?)),
            TokenKind::Mark('(') => Ok(Operand::List(self.flat_list(')')?)),
            TokenKind::Mark('[') => self.address(),
            TokenKind::Mark('!') => Ok(Operand::Not(self.name()?)),
            TokenKind::Mark('-') => match self.next() {
                Some(TokenKind::Integer(value)) => Ok(Operand::Number(Number::Integer(value.wrapping_neg()))),
                Some(TokenKind::Double(value)) => Ok(Operand::Number(Number::Double(-value))),
                _ => Err("a number is missing behind the minus".into()),
            },
            TokenKind::Integer(value) => Ok(Operand::Number(Number::Integer(value))),
            TokenKind::Single(bits) => Ok(Operand::Number(Number::Single(bits))),
            TokenKind::Double(value) => Ok(Operand::Number(Number::Double(value))),
            TokenKind::Word(name) if self.accept('|') => Ok(Operand::Pair(name, self.name()?)),
            TokenKind::Word(name) => Ok(match self.offset()? {
                Some(offset) => Operand::Sum(name, offset),
                None => Operand::Name(name),
            }),
            TokenKind::Mark(mark) => Err(format!("no operand starts with {mark:?}")),
            TokenKind::Text(_) => Err("a string is no operand".into()),
        }
    }

    /// Lists don't lie in lists.
    fn flat_list(&mut self, close: char) -> Result<Vec<Operand<'a>>, String> {
        if self.tokens.get(self.at).is_some_and(|token| matches!(token.kind, TokenKind::Mark('{' | '('))) {
            return Err("a list in a list is no operand".into());
        }
        self.list(Some(close))
    }

    fn name(&mut self) -> Result<&'a str, String> {
        match self.next() {
            Some(TokenKind::Word(name)) => Ok(name),
            _ => Err("a register is missing".into()),
        }
    }

    fn offset(&mut self) -> Result<Option<i64>, String> {
        let negative = if self.accept('+') {
            self.accept('-')
        } else if self.accept('-') {
            true
        } else {
            return Ok(None);
        };
        match self.next() {
            Some(TokenKind::Integer(value)) if negative => Ok(Some((value as i64).wrapping_neg())),
            Some(TokenKind::Integer(value)) => Ok(Some(value as i64)),
            _ => Err("the offset isn't a number".into()),
        }
    }

    fn address(&mut self) -> Result<Operand<'a>, String> {
        let address = match self.next() {
            Some(TokenKind::Word(name)) => Operand::Address(Some(name), self.offset()?.unwrap_or(0)),
            Some(TokenKind::Integer(value)) => Operand::Address(None, value as i64),
            _ => return Err("the address is missing".into()),
        };
        if self.accept(']') { Ok(address) } else { Err("']' is missing".into()) }
    }
}
