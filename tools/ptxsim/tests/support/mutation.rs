//! Planted bugs: a line of a kernel is found and changed; if it isn't there, the test says so.

/// What happens to the line.
pub enum Edit {
    Drop,
    /// Replaces a piece of it.
    Replace(&'static str, &'static str),
    /// Puts instructions before it.
    Before(&'static str),
    /// Only threads for which the condition, as `setp` writes it of `%t` (the thread), is true come to it.
    OnlyIf(&'static str),
    /// Changes the order of the registers in braces.
    Reorder([usize; 4]),
    /// The two first operands behind the destination change places.
    SwapSources,
}

pub struct Mutation {
    pub name: &'static str,
    pub kernel: &'static str,
    /// A piece of the line.
    pub line: &'static str,
    /// Which of the kernel's lines with that piece, from 1.
    pub number: usize,
    pub edit: Edit,
}

impl Mutation {
    /// The PTX with the bug in it.
    pub fn apply(&self, ptx: &str) -> String {
        let Mutation { name, kernel, line, number, .. } = self;
        let start = ptx.find(&format!(".entry {kernel}(")).unwrap_or_else(|| panic!("{name}: no kernel {kernel}"));
        let end = start + ptx[start..].find("\n}").expect("the kernel's end");
        // compilers separate the operands by tabs and spaces
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut found = 0;
        let mut body = String::new();
        for text in ptx[start..end].lines() {
            found += usize::from(plain(text).contains(line));
            if found == *number && plain(text).contains(line) {
                let edited = self.edited(&plain(text));
                assert_ne!(edited, plain(text), "{name}: that changes nothing");
                body += &edited;
            } else {
                body += text;
            }
            body.push('\n');
        }
        assert!(found >= *number, "{name}: {kernel} has {found} lines with {line:?}, not {number}: state another one");
        format!("{}{body}{}", &ptx[..start], &ptx[end..])
    }

    fn edited(&self, line: &str) -> String {
        let Mutation { name, .. } = self;
        match &self.edit {
            Edit::Drop => String::new(),
            Edit::Replace(from, to) => {
                assert!(line.contains(from), "{name}: there is no {from:?} in {line:?}");
                line.replacen(from, to, 1)
            }
            Edit::Before(instructions) => format!("{instructions}\n{line}"),
            Edit::OnlyIf(condition) => {
                let (comparison, value) = condition.split_once(' ').expect("a comparison and a number");
                format!(
                    "{{ .reg .pred %q; .reg .b32 %t; mov.u32 %t, %tid.x; setp.{comparison}.u32 %q, %t, {value};
                    @%q {line} }}"
                )
            }
            Edit::Reorder(order) => {
                let (before, rest) = line.split_once('{').unwrap_or_else(|| panic!("{name}: no vector in {line:?}"));
                let (inside, behind) = rest.split_once('}').expect("its end");
                let parts: Vec<&str> = inside.split(", ").collect();
                format!("{before}{{{}}}{behind}", order.map(|place| parts[place]).join(", "))
            }
            Edit::SwapSources => {
                let (head, operands) = line.trim_end_matches(';').split_once(' ').expect("operands");
                let mut operands: Vec<&str> = operands.split(", ").collect();
                assert!(operands.len() >= 3, "{name}: there are no two sources in {line:?}");
                operands.swap(1, 2);
                format!("{head} {};", operands.join(", "))
            }
        }
    }
}

/// Runs `check` on the PTX as it is and with each bug, and fails if a bug isn't noticed or what is right is.
pub fn assert_all_caught(ptx: &str, mutations: &[Mutation], check: impl Fn(&str, &'static str) -> Result<(), String>) {
    let mut kernels: Vec<&'static str> = mutations.iter().map(|mutation| mutation.kernel).collect();
    kernels.dedup();
    for kernel in kernels {
        check(ptx, kernel).unwrap_or_else(|found| panic!("{kernel} as it is: {found}"));
    }
    let mut survivors = Vec::new();
    for mutation in mutations {
        match check(&mutation.apply(ptx), mutation.kernel) {
            Err(found) => println!("{} ({}): {found}", mutation.name, mutation.kernel),
            Ok(()) => survivors.push(format!("{} ({})", mutation.name, mutation.kernel)),
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:#?}");
}
