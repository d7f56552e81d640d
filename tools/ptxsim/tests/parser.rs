//! What is refused, with which sentence; and that no text, however broken, makes the crate panic.

mod support;

use ptxsim::{Launch, Memory, Module, Options, Order};
use support::{HEAD, Random, small_kernel, text};

/// The sentence about a small kernel with this line.
fn refused(line: &str) -> String {
    match Module::parse(&small_kernel(line)) {
        Ok(_) => panic!("accepted: {line}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_say_line_statement_and_reason() {
    let error =
        Module::parse(&small_kernel("add.s32 %r2, %r1, 1;\n  frobnicate.u32   %r2, %r1;")).expect_err("no such");
    assert_eq!(error.line, small_kernel("").lines().position(|line| line.trim().is_empty()).expect("the body") + 2);
    assert_eq!(error.text, "frobnicate.u32 %r2, %r1");
    assert_eq!(error.reason, "the instruction frobnicate isn't known");
    for (line, reason) in [
        ("add.f128 %r2, %r1, 1;", "add has no type that is known"),
        ("add.wrong.s32 %r2, %r1, 1;", ".wrong of add isn't known"),
        ("add.s32 %r2, %r1;", "3 operands are expected, there are 2"),
        ("add.s32 %r2, %r77, 1;", "%r77 isn't declared"),
        ("add.s32 %p1, %r1, 1;", "%p1 isn't a register that can be written here"),
        ("add.s32 %r2, %r1, {%r1};", "a register or a number is expected"),
        ("@%r1 add.s32 %r2, %r1, 1;", "%r1 isn't a predicate"),
        ("bra NOWHERE;", "there is no label NOWHERE in this function"),
        ("fma.rz.f64 %fd1, %fd1, %fd1, %fd1;", "this combination of type and modifiers isn't known"),
        ("ld.global.v2.u32 %r2, [%rd1];", "2 registers are expected"),
        ("ld.global.u32 %r2, %rd1;", "an address in brackets is expected"),
        ("st.param.u32 [a], %r1;", "parameters of kernels and constants can't be written"),
        ("shfl.bfly.b32 %r2, %r1, 1, 31;", "shuffles without .sync are of the past"),
        ("cp.async.cg.shared.global [%r1], [%rd1], 8;", "cp.async.cg of 8 bytes isn't possible"),
        ("call.uni nothing;", "there is no function nothing"),
        ("mov.b32 %r2, {%h1, %h1, %h1};", "3 registers don't make one of this type"),
        (".reg .b32 %r1;", "%r1 is declared twice"),
        (".reg .b32 %many<99999999999>;", "99999999999 registers are too many"),
        ("A: A: ret;", "there is another label of this name"),
        ("mov.u32 %r2, 0x;", "\"0x\" is not a number"),
        ("mov.u32 %r2, \u{20ac};", "no PTX token starts with '\u{20ac}'"),
    ] {
        let found = refused(line);
        assert!(found.contains(reason), "{line}: {found}");
        assert!(found.starts_with("PTX line "), "{found}");
    }
}

#[test]
fn modules_that_are_none() {
    for (ptx, reason) in [
        ("", "the PTX has no .version"),
        (".target sm_80", "the PTX has no .version"),
        (".version eight", "\"eight\" is no version"),
        (".version 8.0\n.address_size 32", "only addresses of 64 bits are known"),
        (".version 8.0\n.visible .entry k() {", "the function's body has no end"),
        (".version 8.0\n.visible .entry k() { ret }", "the semicolon at its end is missing"),
        (".version 8.0\n/* no end", "the comment has no end"),
        (".version 8.0\n.global .u32 x[2] = {1, 2, 3};", "there are more values than the variable has places"),
        (".version 8.0\n.global .align 3 .u32 x;", "an alignment of 3 isn't possible"),
        (".version 8.0\n.surfref x;", ".surfref isn't known here"),
        (".version 8.0\n.global .b8 x[99999999999999];", "x is too large"),
    ] {
        let error = Module::parse(ptx).expect_err(ptx).to_string();
        assert!(error.contains(reason), "{ptx:?}: {error}");
    }
}

#[test]
fn a_module_knows_its_kernels() {
    let module = support::parse(&text("tests/kernels/features.ptx"));
    assert_eq!((module.version(), module.target()), ((8, 0), "sm_80"));
    assert_eq!(module.kernels().len(), 11);
    assert!(module.kernel("nothing").is_none());
    assert_eq!(module.kernel("calls").expect("a kernel").parameters(), [32, 8]);
    assert_eq!(module.kernel("warps").expect("a kernel").static_shared(), 256);
    let module = support::parse(&text("tests/kernels/softmax.ptx"));
    let kernel = module.kernel("softmax").expect("a kernel");
    assert_eq!((kernel.parameters(), kernel.max_threads(), kernel.static_shared()), (vec![8, 8, 4], Some(128), 32));
}

#[test]
fn scopes_labels_and_comments() {
    // the same label and register in two scopes, as inline assembly has them; a scope in one line
    let body = "{ .reg .u32 %t; mov.u32 %t, 1; bra A; A: add.u32 %r2, %t, 1; } // comment
        {.reg .u32 %t; mov.u32 %t, %r2; bra A; mov.u32 %t, 9; A: /* two
        lines */ add.u32 %r2, %t, %r2; st.global.u32 [%rd1], %r2;}";
    let module = support::parse(&small_kernel(body));
    let mut memory = Memory::new();
    let address = memory.allocate(4).expect("memory");
    let arguments = [support::Argument::Address(address), support::Argument::Address(0)];
    support::launch(&module, "k", (1, 1, 0), &arguments, &mut memory, &Options::default()).expect("runs");
    assert_eq!(support::download_all::<u32>(&memory, address, 1), [4]);
    // a string at the end, as drivers are given it
    Module::parse(&format!("{HEAD}\0\0")).expect("zeros end the text");
}

/// Broken in ways that keep much of the text: what is left is often still PTX, which then runs.
fn broken(ptx: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = ptx.lines().map(str::to_string).collect();
    for _ in 0..=random.below(3) {
        let (at, other) = (random.below(lines.len()), random.below(lines.len()));
        match random.below(9) {
            0 => lines[at].clear(),
            1 => lines.swap(at, other),
            2 => lines[at] = lines[other].clone(),
            3 => lines.truncate(at.max(1)),
            4 => {
                let bytes = b"{}[]();:,.%@!0x-+<>|\"/*~ab9\xff";
                let place = random.below(lines[at].len() + 1);
                if lines[at].is_char_boundary(place) {
                    lines[at].insert(place, bytes[random.below(bytes.len())] as char);
                }
            }
            5 => {
                let place = random.below(lines[at].len() + 1);
                lines[at].truncate(place);
            }
            6 => {
                // an operand of another instruction
                let word = lines[other].split_whitespace().last().unwrap_or("").to_string();
                let old = lines[at].split_whitespace().last().unwrap_or("x").to_string();
                lines[at] = lines[at].replace(&old, &word);
            }
            7 => {
                let digits =
                    ["0", "1", "31", "64", "255", "-1", "4294967295", "18446744073709551615", "99999999999999999999"];
                let place = lines[at].find(|c: char| c.is_ascii_digit());
                if let Some(place) = place {
                    lines[at].replace_range(place..=place, digits[random.below(digits.len())]);
                }
            }
            _ => {
                let words = [
                    ".u8", ".s64", ".f32", ".v4", ".pred", ".b16", ".f64", ".shared", ".global", ".local", ".param", "",
                ];
                let dot = lines[at].rfind('.');
                if let Some(dot) = dot {
                    lines[at].replace_range(dot.., words[random.below(words.len())]);
                    lines[at].push_str(" %r1, %r2, %r3;");
                }
            }
        }
    }
    lines.join("\n")
}

/// Runs every kernel with what may be addresses, few instructions long.
fn run_all(module: &Module, random: &mut Random) {
    for kernel in module.kernels() {
        let mut memory = Memory::with_capacity(1 << 24);
        let Ok(address) = memory.allocate(4096) else { continue };
        memory.write(address, &[1; 4096]).expect("in bounds");
        let parameters: Vec<Vec<u8>> = kernel
            .parameters()
            .iter()
            .map(|&size| address.to_le_bytes().into_iter().cycle().take(size.min(1 << 20)).collect())
            .collect();
        let parameters: Vec<&[u8]> = parameters.iter().map(Vec::as_slice).collect();
        let launch =
            Launch { kernel, grid: [2, 1, 1], block: [40, 1, 1], dynamic_shared: 512, parameters: &parameters };
        let order = [Order::Ascending, Order::Descending, Order::Random(random.bits())][random.below(3)];
        let careless = random.below(2) == 0;
        let options = Options {
            order,
            instruction_limit: 20_000,
            undefined_registers: !careless,
            uninitialized_shared: !careless,
            races: !careless,
            ..Options::default()
        };
        let _ = launch.run(&mut memory, &options);
    }
}

#[test]
fn broken_texts_never_panic() {
    let mut random = Random(std::env::var("PTXSIM_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(8));
    let count = std::env::var("PTXSIM_FUZZ_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(1500);
    let originals =
        [text("tests/kernels/features.ptx"), text("tests/kernels/softmax.ptx"), small_kernel("bar.sync 0;")];
    let mut accepted = 0;
    for number in 0..count {
        let state = random.0;
        let original = random.below(originals.len());
        let ptx = broken(&originals[original], &mut random);
        let result = std::panic::catch_unwind(|| {
            let module = Module::parse(&ptx).ok()?;
            run_all(&module, &mut Random(state));
            Some(())
        });
        match result {
            Ok(ran) => accepted += usize::from(ran.is_some()),
            Err(_) => panic!("text {number} made it panic; PTXSIM_FUZZ_SEED={state} PTXSIM_FUZZ_COUNT=1 starts there"),
        }
    }
    assert!(accepted > count / 20, "only {accepted} of {count} texts were PTX: the test reaches nothing");
}
