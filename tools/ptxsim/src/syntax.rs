//! PTX as it is written: variables, functions and their statements, before names mean anything.

use crate::lexer::{Token, TokenKind, tokens};
use crate::parse_error::ParseError;
use crate::types::Type;

/// A declared variable or parameter.
#[derive(Clone, Debug)]
pub(crate) struct Variable<'a> {
    pub(crate) name: &'a str,
    /// `.global`, `.const`, `.shared`, `.local`, `.param`.
    pub(crate) space: &'a str,
    pub(crate) align: u64,
    /// Bytes; 0 for an array without a length.
    pub(crate) size: u64,
    pub(crate) element: Type,
    pub(crate) initial: Vec<Initial<'a>>,
    pub(crate) external: bool,
}

/// One element of an initialiser.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Initial<'a> {
    Bits(u64),
    Address { name: &'a str, offset: i64 },
}

/// `.entry` or `.func`.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) is_entry: bool,
    pub(crate) returns: Vec<Variable<'a>>,
    pub(crate) parameters: Vec<Variable<'a>>,
    /// None for a declaration.
    pub(crate) body: Option<Vec<Statement<'a>>>,
    /// The threads of `.maxntid` or `.reqntid`.
    pub(crate) max_threads: Option<u32>,
    pub(crate) required_block: Option<[u32; 3]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatementKind {
    OpenScope,
    CloseScope,
    Label,
    /// Starts with a dot.
    Directive,
    Instruction,
}

/// A piece of a function's body.
#[derive(Clone, Debug)]
pub(crate) struct Statement<'a> {
    pub(crate) kind: StatementKind,
    /// Without the semicolon at the end; of a label only its name.
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) line: usize,
    pub(crate) text: &'a str,
}

/// A whole PTX text.
#[derive(Debug, Default)]
pub(crate) struct Source<'a> {
    pub(crate) version: (u32, u32),
    pub(crate) target: String,
    pub(crate) variables: Vec<Variable<'a>>,
    pub(crate) functions: Vec<Function<'a>>,
}

/// Reads all of `text`.
pub(crate) fn parse(text: &str) -> Result<Source<'_>, ParseError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens: &tokens, at: 0 };
    let mut source = Source::default();
    while parser.at < tokens.len() {
        parser.item(&mut source)?;
    }
    if source.version == (0, 0) {
        return Err(ParseError { line: 1, text: String::new(), reason: "the PTX has no .version".into() });
    }
    Ok(source)
}

/// A name that `.reg` declares: one register, or so many with numbers behind the name.
pub(crate) struct DeclaredRegisters<'a> {
    pub(crate) of: Type,
    pub(crate) name: &'a str,
    pub(crate) count: Option<u64>,
}

/// The names in a directive like `.reg .b32 %r<5>, %x;`.
pub(crate) fn register_declarations<'a>(
    text: &'a str,
    tokens: &[Token<'a>],
) -> Result<Vec<DeclaredRegisters<'a>>, ParseError> {
    let mut parser = Parser { text, tokens, at: 1 };
    let mut of = None;
    while let Some(word) = parser.peek_word().filter(|word| word.starts_with('.')) {
        of = Type::parse(&word[1..]).or(of);
        if of.is_none() {
            return Err(parser.error(format!("registers of type {word} aren't known")));
        }
        parser.at += 1;
    }
    let of = of.ok_or_else(|| parser.error("the registers have no type".into()))?;
    let mut names = Vec::new();
    loop {
        let name = parser.word("a register")?;
        let count = if parser.accept('<') {
            let count = parser.integer("a number of registers")?;
            parser.expect('>')?;
            Some(count)
        } else {
            None
        };
        names.push(DeclaredRegisters { of, name, count });
        if !parser.accept(',') {
            break;
        }
    }
    parser.end()?;
    Ok(names)
}

/// The variables that a directive in a function's body declares.
pub(crate) fn variable_declarations<'a>(text: &'a str, tokens: &[Token<'a>]) -> Result<Vec<Variable<'a>>, ParseError> {
    let mut parser = Parser { text, tokens, at: 0 };
    let variables = parser.variables(false)?;
    parser.end()?;
    Ok(variables)
}

struct Parser<'a, 't> {
    text: &'a str,
    tokens: &'t [Token<'a>],
    at: usize,
}

impl<'a> Parser<'a, '_> {
    fn peek(&self) -> Option<TokenKind<'a>> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    fn peek_word(&self) -> Option<&'a str> {
        match self.peek() {
            Some(TokenKind::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn accept(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(TokenKind::Mark(mark));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), ParseError> {
        if self.accept(mark) { Ok(()) } else { Err(self.error(format!("{mark:?} is missing"))) }
    }

    fn word(&mut self, what: &str) -> Result<&'a str, ParseError> {
        let word = self.peek_word().ok_or_else(|| self.error(format!("the name of {what} is missing")))?;
        self.at += 1;
        Ok(word)
    }

    fn integer(&mut self, what: &str) -> Result<u64, ParseError> {
        match self.peek() {
            Some(TokenKind::Integer(value)) => {
                self.at += 1;
                Ok(value)
            }
            _ => Err(self.error(format!("{what} is missing"))),
        }
    }

    fn end(&self) -> Result<(), ParseError> {
        if self.at == self.tokens.len() { Ok(()) } else { Err(self.error("nothing more is expected here".into())) }
    }

    /// At the token that comes next, or the last one.
    fn error(&self, reason: String) -> ParseError {
        let Some(token) = self.tokens.get(self.at).or(self.tokens.last()) else {
            return ParseError { line: 1, text: String::new(), reason };
        };
        let start = self.text[..token.start].rfind('\n').map_or(0, |newline| newline + 1);
        let text = self.text[start..].lines().next().unwrap_or("").trim().to_string();
        ParseError { line: token.line, text, reason }
    }

    fn item(&mut self, source: &mut Source<'a>) -> Result<(), ParseError> {
        match self.peek_word() {
            Some(".version") => {
                self.at += 1;
                source.version = self.version()?;
            }
            Some(".target") => {
                self.at += 1;
                source.target = self.word("the target")?.to_string();
                while self.accept(',') {
                    self.word("a target")?;
                }
            }
            Some(".address_size") => {
                self.at += 1;
                if self.integer("the size of addresses")? != 64 {
                    self.at -= 1;
                    return Err(self.error("only addresses of 64 bits are known".into()));
                }
            }
            Some(".file") => self.skip_line(),
            Some(".section") => self.skip_braces()?,
            Some(".pragma" | ".alias") => self.skip_past_semicolon(),
            Some(_) => self.declaration(source)?,
            None => return Err(self.error("a directive is expected here".into())),
        }
        Ok(())
    }

    fn version(&mut self) -> Result<(u32, u32), ParseError> {
        let token = self.tokens.get(self.at).ok_or_else(|| self.error("the version is missing".into()))?;
        let digits = &self.text[token.start..token.end];
        let parts = digits.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let version = parts.ok_or_else(|| self.error(format!("{digits:?} is no version")))?;
        self.at += 1;
        Ok(version)
    }

    fn skip_line(&mut self) {
        let line = self.tokens[self.at].line;
        while self.tokens.get(self.at).is_some_and(|token| token.line == line) {
            self.at += 1;
        }
    }

    fn skip_past_semicolon(&mut self) {
        while self.at < self.tokens.len() && !self.accept(';') {
            self.at += 1;
        }
    }

    fn skip_braces(&mut self) -> Result<(), ParseError> {
        while self.at < self.tokens.len() && self.peek() != Some(TokenKind::Mark('}')) {
            self.at += 1;
        }
        self.expect('}')
    }

    /// A variable or function with what stands before it.
    fn declaration(&mut self, source: &mut Source<'a>) -> Result<(), ParseError> {
        let mut external = false;
        while let Some(linkage @ (".visible" | ".extern" | ".weak" | ".common")) = self.peek_word() {
            external |= linkage == ".extern";
            self.at += 1;
        }
        match self.peek_word() {
            Some(".entry") => {
                self.at += 1;
                let function = self.function(true)?;
                source.functions.push(function);
            }
            Some(".func") => {
                self.at += 1;
                let function = self.function(false)?;
                source.functions.push(function);
            }
            Some(".global" | ".const" | ".shared") => {
                source.variables.extend(self.variables(external)?);
                self.expect(';')?;
            }
            Some(word) => return Err(self.error(format!("{word} isn't known here"))),
            None => return Err(self.error("a variable or function is expected here".into())),
        }
        Ok(())
    }

    /// From the space on, up to the semicolon or comma behind.
    fn variables(&mut self, external: bool) -> Result<Vec<Variable<'a>>, ParseError> {
        let mut variables = vec![self.variable(external)?];
        while self.accept(',') {
            let first = variables[0].clone();
            let name = self.word("a variable")?;
            let size = first.element.size() * self.dimensions()?.unwrap_or(1);
            variables.push(Variable { name, size, initial: Vec::new(), ..first });
        }
        Ok(variables)
    }

    fn variable(&mut self, external: bool) -> Result<Variable<'a>, ParseError> {
        let space = self.word("a memory")?;
        let (mut align, mut element, mut vector) = (None, None, 1);
        loop {
            match self.peek_word() {
                Some(".align") => {
                    self.at += 1;
                    let value = self.integer("the alignment")?;
                    if !value.is_power_of_two() || value > 1 << 20 {
                        self.at -= 1;
                        return Err(self.error(format!("an alignment of {value} isn't possible")));
                    }
                    align = Some(value);
                }
                Some(".ptr") => self.pointer_attributes()?,
                Some(".v2") => (vector, self.at) = (2, self.at + 1),
                Some(".v4") => (vector, self.at) = (4, self.at + 1),
                Some(".attribute") => {
                    while self.at < self.tokens.len() && !self.accept(')') {
                        self.at += 1;
                    }
                }
                Some(word) if word.starts_with('.') && Type::parse(&word[1..]).is_some() => {
                    element = Type::parse(&word[1..]);
                    self.at += 1;
                }
                Some(word) if word.starts_with('.') => return Err(self.error(format!("{word} isn't known here"))),
                _ => break,
            }
        }
        let element = element.ok_or_else(|| self.error("the type is missing".into()))?;
        let name = self.word("a variable")?;
        let length = self.dimensions()?.unwrap_or(1);
        let size = length.checked_mul(element.size() * vector).filter(|&size| size < 1 << 40);
        let size = size.ok_or_else(|| self.error(format!("{name} is too large")))?;
        let initial = if self.accept('=') { self.initial(element)? } else { Vec::new() };
        let align = align.unwrap_or(element.size() * vector).max(1);
        Ok(Variable { name, space, align, size, element, initial, external })
    }

    /// `.ptr .global .align 4`: what a parameter points to.
    fn pointer_attributes(&mut self) -> Result<(), ParseError> {
        self.at += 1;
        while let Some(".global" | ".const" | ".shared" | ".local" | ".align") = self.peek_word() {
            let has_number = self.peek_word() == Some(".align");
            self.at += 1;
            if has_number {
                self.integer("the alignment")?;
            }
        }
        Ok(())
    }

    /// The product of `[2][3]`; 0 for `[]`; none without brackets.
    fn dimensions(&mut self) -> Result<Option<u64>, ParseError> {
        let mut product = None;
        while self.accept('[') {
            let length = if self.peek() == Some(TokenKind::Mark(']')) { 0 } else { self.integer("the length")? };
            self.expect(']')?;
            let total = product.unwrap_or(1u64).checked_mul(length);
            product = Some(total.ok_or_else(|| self.error("the array is too large".into()))?);
        }
        Ok(product)
    }

    fn initial(&mut self, element: Type) -> Result<Vec<Initial<'a>>, ParseError> {
        let mut values = Vec::new();
        let mut depth = 0;
        loop {
            if self.accept('{') {
                depth += 1;
            } else if self.accept('}') {
                depth -= 1;
            } else if depth > 0 && self.accept(',') {
                continue;
            } else {
                values.push(self.initial_value(element)?);
            }
            if depth == 0 {
                return Ok(values);
            }
        }
    }

    fn initial_value(&mut self, element: Type) -> Result<Initial<'a>, ParseError> {
        let negative = self.accept('-');
        let kind = self.peek();
        self.at += 1;
        Ok(match kind {
            Some(TokenKind::Integer(value)) => Initial::Bits(if negative { value.wrapping_neg() } else { value }),
            Some(TokenKind::Single(bits)) if element == Type::F64 => {
                Initial::Bits(f64::from(f32::from_bits(bits)).to_bits())
            }
            Some(TokenKind::Single(bits)) => Initial::Bits(bits.into()),
            Some(TokenKind::Double(value)) => {
                let value = if negative { -value } else { value };
                Initial::Bits(if element == Type::F32 { (value as f32).to_bits().into() } else { value.to_bits() })
            }
            Some(TokenKind::Word("generic")) => {
                self.expect('(')?;
                let name = self.word("a variable")?;
                self.expect(')')?;
                Initial::Address { name, offset: self.offset()? }
            }
            Some(TokenKind::Word(_)) => {
                self.at -= 1;
                self.address()?
            }
            _ => {
                self.at -= 1;
                return Err(self.error("a value is expected here".into()));
            }
        })
    }

    fn address(&mut self) -> Result<Initial<'a>, ParseError> {
        let name = self.word("a variable")?;
        Ok(Initial::Address { name, offset: self.offset()? })
    }

    /// `+4`, `-4` or nothing.
    fn offset(&mut self) -> Result<i64, ParseError> {
        match (self.accept('+'), self.accept('-')) {
            (false, false) => Ok(0),
            (_, true) => Ok((self.integer("the offset")? as i64).wrapping_neg()),
            (true, false) => Ok(self.integer("the offset")? as i64),
        }
    }

    fn function(&mut self, is_entry: bool) -> Result<Function<'a>, ParseError> {
        let returns = if !is_entry && self.accept('(') { self.parameters()? } else { Vec::new() };
        let name = self.word("the function")?;
        let parameters = if self.accept('(') { self.parameters()? } else { Vec::new() };
        let mut function =
            Function { name, is_entry, returns, parameters, body: None, max_threads: None, required_block: None };
        loop {
            match self.peek_word() {
                Some(tuning @ (".maxntid" | ".reqntid")) => {
                    self.at += 1;
                    let block = self.dimensions_of_block()?;
                    function.max_threads = Some(block.iter().fold(1u32, |product, &n| product.saturating_mul(n)));
                    if tuning == ".reqntid" {
                        function.required_block = Some(block);
                    }
                }
                Some(".minnctapersm" | ".maxnctapersm" | ".maxnreg") => {
                    self.at += 1;
                    self.integer("a number")?;
                }
                Some(".noreturn") => self.at += 1,
                Some(".pragma") => self.skip_past_semicolon(),
                Some(word) => return Err(self.error(format!("{word} isn't known here"))),
                None => break,
            }
        }
        if !self.accept(';') {
            self.expect('{')?;
            function.body = Some(self.body()?);
        }
        Ok(function)
    }

    fn dimensions_of_block(&mut self) -> Result<[u32; 3], ParseError> {
        let mut block = [1; 3];
        for (place, size) in block.iter_mut().enumerate() {
            if place > 0 && !self.accept(',') {
                break;
            }
            let value = self.integer("a number of threads")?;
            *size = u32::try_from(value).map_err(|_| self.error("too many threads".into()))?;
        }
        Ok(block)
    }

    /// Behind the opening parenthesis.
    fn parameters(&mut self) -> Result<Vec<Variable<'a>>, ParseError> {
        let mut parameters = Vec::new();
        if self.accept(')') {
            return Ok(parameters);
        }
        loop {
            parameters.push(self.variable(false)?);
            if !self.accept(',') {
                self.expect(')')?;
                return Ok(parameters);
            }
        }
    }

    /// Behind the opening brace, up to the one that closes it.
    fn body(&mut self) -> Result<Vec<Statement<'a>>, ParseError> {
        let mut statements = Vec::new();
        let mut depth = 1;
        while let Some(kind) = self.peek() {
            match kind {
                TokenKind::Mark('{') => {
                    depth += 1;
                    self.at += 1;
                    statements.push(self.statement(StatementKind::OpenScope, self.at - 1, self.at));
                }
                TokenKind::Mark('}') => {
                    depth -= 1;
                    self.at += 1;
                    if depth == 0 {
                        return Ok(statements);
                    }
                    statements.push(self.statement(StatementKind::CloseScope, self.at - 1, self.at));
                }
                TokenKind::Mark(';') => self.at += 1,
                TokenKind::Word(".loc" | ".file") => self.skip_line(),
                TokenKind::Word(word) if self.is_label() => {
                    self.at += 2;
                    statements.push(self.statement(StatementKind::Label, self.at - 2, self.at - 1));
                    debug_assert!(!word.is_empty());
                }
                TokenKind::Word(word) if word.starts_with('.') => {
                    statements.push(self.until_semicolon(StatementKind::Directive)?);
                }
                _ => statements.push(self.until_semicolon(StatementKind::Instruction)?),
            }
        }
        Err(self.error("the function's body has no end".into()))
    }

    fn is_label(&self) -> bool {
        self.tokens.get(self.at + 1).is_some_and(|token| token.kind == TokenKind::Mark(':'))
    }

    fn until_semicolon(&mut self, kind: StatementKind) -> Result<Statement<'a>, ParseError> {
        let start = self.at;
        while let Some(token) = self.peek() {
            if token == TokenKind::Mark(';') {
                self.at += 1;
                return Ok(self.statement(kind, start, self.at - 1));
            }
            self.at += 1;
        }
        self.at = start;
        Err(self.error("the semicolon at its end is missing".into()))
    }

    fn statement(&self, kind: StatementKind, start: usize, end: usize) -> Statement<'a> {
        let tokens = self.tokens[start..end].to_vec();
        let text = match (tokens.first(), tokens.last()) {
            (Some(first), Some(last)) => &self.text[first.start..last.end],
            _ => "",
        };
        Statement { kind, line: tokens.first().map_or(0, |token| token.line), tokens, text }
    }
}
