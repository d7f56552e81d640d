//! Every kind of fault, provoked by the smallest kernel that does it, and next to it the kernel that doesn't.

mod support;

use ptxsim::{Fault, FaultKind, Memory, Module, Options, Order, Statistics};
use support::{Argument, launch, parse, small_kernel, upload};

/// Runs a body with `a`, 1024 bytes of zeros, and `b`, 1024 bytes that nobody wrote.
fn run_with(body: &str, blocks: u32, threads: u32, options: &Options) -> Result<Statistics, Box<Fault>> {
    let module = parse(&small_kernel(body));
    let mut memory = Memory::new();
    let a = upload(&mut memory, &[0; 1024]);
    let b = memory.allocate(1024).expect("memory");
    launch(&module, "k", (blocks, threads, 64), &[Argument::Address(a), Argument::Address(b)], &mut memory, options)
}

const ORDERS: [Order; 6] =
    [Order::Ascending, Order::Descending, Order::Random(1), Order::Random(2), Order::Random(3), Order::Random(4)];

/// The fault must come in every order of threads.
fn fault_of(body: &str, blocks: u32, threads: u32) -> Fault {
    let faults = ORDERS.map(|order| {
        let options = Options { order, instruction_limit: 100_000, ..Options::default() };
        match run_with(body, blocks, threads, &options) {
            Ok(_) => panic!("no fault in {order:?}: {body}"),
            Err(fault) => *fault,
        }
    });
    // what nothing orders is a race, or not written yet if the reader comes first
    let unordered = |fault: &Fault| matches!(fault.kind, FaultKind::Race { .. } | FaultKind::Uninitialized { .. });
    let kind = std::mem::discriminant(&faults[0].kind);
    let alike = |fault: &Fault| std::mem::discriminant(&fault.kind) == kind;
    assert!(faults.iter().all(alike) || faults.iter().all(unordered), "{faults:?}");
    let [first, ..] = faults;
    first
}

fn passes(body: &str, blocks: u32, threads: u32) {
    for order in ORDERS {
        let options = Options { order, ..Options::default() };
        run_with(body, blocks, threads, &options).unwrap_or_else(|fault| panic!("{order:?}: {fault}"));
    }
}

macro_rules! assert_fault {
    ($fault:expr, $kind:pat) => {
        let fault = $fault;
        assert!(matches!(fault.kind, $kind), "{fault}");
    };
}

#[test]
fn a_fault_says_where_it_was() {
    let fault = fault_of("setp.ne.u32 %p1, %r1, 3;\n@%p1 bra ON;\nst.global.u32 [%rd1+1024], %r1;\nON:", 1, 40);
    assert_eq!(fault.kernel, "k");
    assert_eq!(fault.instruction, "st.global.u32 [%rd1+1024], %r1");
    assert_eq!((fault.block, fault.thread), ([0; 3], [3, 0, 0]));
    let ptx = small_kernel("setp.ne.u32 %p1, %r1, 3;\n@%p1 bra ON;\nst.global.u32 [%rd1+1024], %r1;\nON:");
    let line = ptx.lines().position(|line| line.starts_with("st.global")).expect("the store") + 1;
    assert_eq!(fault.line, line);
    let expected = format!(
        "k, PTX line {line} (st.global.u32 [%rd1+1024], %r1), block 0 thread 3: store of 4 bytes at 0x700000000400: \
         0 bytes behind the end of an allocation of 1024 at 0x700000000000"
    );
    assert_eq!(fault.to_string(), expected);
}

#[test]
fn out_of_bounds() {
    passes("ld.global.u32 %r2, [%rd1+1020];", 1, 1);
    for body in [
        "ld.global.u32 %r2, [%rd1+1024];",
        "ld.global.u32 %r2, [%rd1-4];",
        "ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd1+1024];",
        "mov.u64 %rd3, 0; ld.global.u32 %r2, [%rd3];",
        "mov.u32 %r2, 1; st.global.u32 [%rd2+1024], %r2;",
        "ld.shared.u32 %r2, [s+320];",
        "mov.u32 %r2, 1; st.shared.u32 [dynamic+64], %r2;",
        "mov.u32 %r2, 1; atom.global.add.u32 %r3, [%rd1+1024], %r2;",
        "mov.u64 %rd3, 16; ld.param.u64 %rd4, [%rd3];",
        "mov.u32 %r2, dynamic; add.u32 %r2, %r2, 64; cp.async.ca.shared.global [%r2], [%rd1], 4;",
        "mov.u32 %r2, dynamic; cp.async.ca.shared.global [%r2], [%rd1+1024], 4;",
    ] {
        assert_fault!(fault_of(body, 1, 1), FaultKind::OutOfBounds { .. });
    }
    passes("mov.u32 %r2, 1; st.shared.u32 [dynamic+60], %r2;", 1, 1);
}

#[test]
fn use_after_free() {
    let module = parse(&small_kernel("ld.global.u32 %r2, [%rd1+8];"));
    let mut memory = Memory::new();
    let a = upload(&mut memory, &[0; 64]);
    memory.free(a).expect("allocated");
    let arguments = [Argument::Address(a), Argument::Address(a)];
    let fault = launch(&module, "k", (1, 1, 0), &arguments, &mut memory, &Options::default()).expect_err("freed");
    assert_eq!(fault.kind, FaultKind::UseAfterFree { access: "load", address: a + 8, offset: 8, size: 64 });
    assert!(memory.free(a).is_err());
}

#[test]
fn misaligned() {
    for body in [
        "ld.global.u32 %r2, [%rd1+2];",
        "ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd1+8];",
        "mov.u64 %rd3, 1; st.global.u64 [%rd2+4], %rd3;",
        "mov.u32 %r2, 1; st.shared.u32 [s+1], %r2;",
        "mov.u32 %r2, s; cp.async.cg.shared.global [%r2], [%rd1+8], 16;",
        "mov.u32 %r2, s; cp.async.cg.shared.global [%r2+4], [%rd1], 16;",
    ] {
        assert_fault!(fault_of(body, 1, 1), FaultKind::Misaligned { .. });
    }
    passes("ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd1+16];", 1, 1);
}

#[test]
fn uninitialized() {
    assert_fault!(fault_of("ld.shared.u32 %r2, [s];", 1, 1), FaultKind::Uninitialized { memory: "shared", .. });
    assert_fault!(fault_of("ld.global.u32 %r2, [%rd2];", 1, 1), FaultKind::Uninitialized { memory: "global", .. });
    // three bytes of four are not enough, in the second block neither
    let body = "mov.u32 %r2, 1; st.shared.u8 [s], %r2; st.shared.u16 [s+2], %r2; ld.shared.u32 %r3, [s];";
    assert_fault!(fault_of(body, 1, 1), FaultKind::Uninitialized { memory: "shared", .. });
    let body = "mov.u32 %r2, %ctaid.x; setp.eq.u32 %p1, %r2, 0; @%p1 st.shared.u32 [s], %r2; ld.shared.u32 %r3, [s];";
    assert_fault!(fault_of(body, 2, 1), FaultKind::Uninitialized { memory: "shared", .. });
    passes("mov.u32 %r2, 1; st.global.u32 [%rd2], %r2; ld.global.u32 %r3, [%rd2];", 1, 1);
    let trusting = Options { uninitialized_global: false, ..Options::default() };
    run_with("ld.global.u32 %r2, [%rd2];", 1, 1, &trusting).expect("not asked for");
}

#[test]
fn read_only() {
    let ptx = small_kernel("mov.u64 %rd3, c; mov.u32 %r2, 1; st.global.u32 [%rd3], %r2;");
    let module = parse(&ptx.replace(".visible", ".const .u32 c = 5;\n.visible"));
    let mut memory = Memory::new();
    let arguments = [Argument::Address(0), Argument::Address(0)];
    let fault = launch(&module, "k", (1, 1, 0), &arguments, &mut memory, &Options::default()).expect_err("a constant");
    assert_fault!(fault, FaultKind::ReadOnly { size: 4, .. });
}

#[test]
fn undefined_registers() {
    let fault = fault_of("add.u32 %r2, %r3, 1;", 1, 1);
    assert_eq!(fault.kind, FaultKind::UndefinedRegister { register: "%r3".into() });
    assert_fault!(fault_of("@%p1 add.u32 %r2, %r1, 1;", 1, 1), FaultKind::UndefinedRegister { .. });
    // written by one lane only
    let body = "setp.eq.u32 %p1, %r1, 0; @%p1 mov.u32 %r2, 1; add.u32 %r3, %r2, 1;";
    let fault = fault_of(body, 1, 2);
    assert_eq!(fault.thread, [1, 0, 0]);
    // to copy what is undefined is no use of it
    passes("mov.u32 %r2, %r3; setp.eq.u32 %p1, %r1, 0; selp.u32 %r4, 1, %r2, %p1;", 1, 64);
    assert_fault!(fault_of("mov.u32 %r2, %r3; neg.s32 %r4, %r2;", 1, 1), FaultKind::UndefinedRegister { .. });
}

#[test]
fn division_by_zero() {
    assert_fault!(fault_of("mov.u32 %r2, 5; div.s32 %r3, %r2, %r1;", 1, 4), FaultKind::DivisionByZero);
    passes("add.u32 %r1, %r1, 1; rem.u32 %r3, 7, %r1;", 1, 64);
}

/// Threads write their own place of shared memory and read that of thread `%r1 ^ mask`.
fn exchange(mask: u32, between: &str) -> String {
    format!(
        "mov.u32 %r2, s; mad.lo.u32 %r3, %r1, 4, %r2; st.shared.u32 [%r3], %r1; {between}
         xor.b32 %r4, %r1, {mask}; mad.lo.u32 %r5, %r4, 4, %r2; ld.shared.u32 %r6, [%r5];"
    )
}

#[test]
fn races_in_shared_memory() {
    // what is read first is not written yet; what is written later was read
    let fault =
        fault_of(&(exchange(1, "").replace("st.shared", "st.volatile.shared") + "st.shared.u32 [%r5], %r1;"), 1, 64);
    assert_fault!(fault, FaultKind::Race { .. } | FaultKind::Uninitialized { .. });
    let same_word = "mov.u32 %r2, s; st.shared.u32 [%r2], %r1;";
    let fault = fault_of(same_word, 1, 2);
    let FaultKind::Race { memory: "shared", access: "store", other, .. } = fault.kind else { panic!("{fault}") };
    assert!(other.write && other.block == [0; 3]);
    // bytes of one word may have different owners
    passes("mov.u32 %r2, s; add.u32 %r2, %r2, %r1; st.shared.u8 [%r2], %r1; ld.shared.u8 %r3, [%r2];", 1, 128);

    passes(&exchange(1, "bar.sync 0;"), 1, 64);
    passes(&exchange(33, "bar.sync 0;"), 1, 64);
    passes(&exchange(1, "bar.warp.sync 0xffffffff;"), 1, 64);
    assert_fault!(
        fault_of(&exchange(33, "bar.warp.sync 0xffffffff;"), 1, 64),
        FaultKind::Race { .. } | FaultKind::Uninitialized { .. }
    );
    // halves of a warp may come together alone
    let halves = "setp.lt.u32 %p1, %r1, 16; selp.b32 %r7, 0xffff, 0xffff0000, %p1; bar.warp.sync %r7;";
    passes(&exchange(1, halves), 1, 32);
    assert_fault!(fault_of(&exchange(17, halves), 1, 32), FaultKind::Race { .. } | FaultKind::Uninitialized { .. });
    // read and then overwritten by another, with the barrier and without
    let body = |barrier| exchange(1, "bar.sync 0;") + barrier + "st.shared.u32 [%r3], %r6;";
    passes(&body("bar.sync 0;"), 1, 64);
    assert_fault!(fault_of(&body(""), 1, 64), FaultKind::Race { access: "store" | "load", .. });
    // a shuffle orders no memory
    let shuffled = "shfl.sync.bfly.b32 %r7, %r1, 1, 31, 0xffffffff;";
    assert_fault!(fault_of(&body(shuffled), 1, 64), FaultKind::Race { .. });
}

#[test]
fn races_with_named_barriers() {
    // two warps meet at barrier 1, the third doesn't
    let body = |threads: u32| {
        format!(
            "setp.ge.u32 %p1, %r1, 64; mov.u32 %r2, s; and.b32 %r8, %r1, 63; mad.lo.u32 %r3, %r8, 4, %r2;
             @%p1 bra LAST; st.shared.u32 [%r3], %r1; bar.sync 1, {threads};
             xor.b32 %r4, %r8, 32; mad.lo.u32 %r5, %r4, 4, %r2; ld.shared.u32 %r6, [%r5]; LAST:"
        )
    };
    passes(&body(64), 1, 96);
    assert_fault!(fault_of(&body(96), 1, 96), FaultKind::Barrier { barrier: 1, waiting: 64, .. });
    let third_reads = body(64) + "mov.u32 %r9, 0; @!%p1 bra END; ld.shared.u32 %r6, [%r3]; END:";
    assert_fault!(fault_of(&third_reads, 1, 96), FaultKind::Race { .. } | FaultKind::Uninitialized { .. });
}

#[test]
fn races_in_global_memory() {
    let own = "mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd1, %rd3; st.global.u32 [%rd4], %r1;";
    passes(own, 1, 64);
    let fault = fault_of(own, 2, 64);
    let FaultKind::Race { memory: "global", other, .. } = fault.kind else { panic!("{fault}") };
    assert_eq!((other.block, fault.block), ([0; 3], [1, 0, 0]));
    // read by one block, written by the other
    let body = "mov.u32 %r2, %ctaid.x; setp.eq.u32 %p1, %r2, 0; @%p1 ld.global.u32 %r3, [%rd1]; @!%p1 st.global.u32 [%rd1], %r2;";
    assert_fault!(fault_of(body, 2, 1), FaultKind::Race { .. });
    passes("ld.global.u32 %r2, [%rd1];", 8, 64);
    // atomics don't race with each other, but with others
    passes("red.global.add.u32 [%rd1], %r1;", 4, 64);
    let body = "red.global.add.u32 [%rd1], %r1; ld.global.u32 %r2, [%rd1];";
    assert_fault!(fault_of(body, 1, 64), FaultKind::Race { .. });
    passes("red.global.add.u32 [%rd1], %r1; bar.sync 0; ld.global.u32 %r2, [%rd1];", 1, 64);
    // a launch comes after the one before
    let module = parse(&small_kernel(own));
    let mut memory = Memory::new();
    let a = upload(&mut memory, &[0; 1024]);
    for _ in 0..2 {
        let arguments = [Argument::Address(a), Argument::Address(a)];
        launch(&module, "k", (1, 64, 0), &arguments, &mut memory, &Options::default()).expect("no race");
    }
    let trusting = Options { races: false, ..Options::default() };
    run_with(own, 2, 64, &trusting).expect("not asked for");
}

#[test]
fn constant_loads_of_what_is_written() {
    let load = "ld.global.nc.u32 %r2, [%rd1];";
    let store = "st.global.u32 [%rd1], %r1;";
    passes(load, 2, 64);
    assert_fault!(fault_of(&format!("{load} {store}"), 1, 1), FaultKind::NotConstant { .. });
    assert_fault!(fault_of(&format!("{store} {load}"), 1, 1), FaultKind::NotConstant { .. });
    passes(&format!("{load} mov.u32 %r2, 1; st.global.u32 [%rd2], %r2;"), 1, 1);
}

#[test]
fn divergent_shuffles() {
    let shuffle = "shfl.sync.bfly.b32 %r2, %r1, 1, 31, 0xffffffff;";
    passes(shuffle, 1, 64);
    // half of the warp goes another way
    let body = format!("setp.lt.u32 %p1, %r1, 16; @%p1 bra ON; {shuffle} ON: mov.u32 %r3, 1;");
    assert_fault!(fault_of(&body, 1, 32), FaultKind::Divergence { operation: "shfl.sync", .. });
    let body = format!("setp.lt.u32 %p1, %r1, 16; @%p1 bra A; {shuffle} bra.uni B; A: {shuffle} B: mov.u32 %r3, 1;");
    let fault = fault_of(&body, 1, 32);
    assert!(fault.to_string().contains("wait at line"), "{fault}");
    // not in its own mask
    let body = shuffle.replace("0xffffffff", "0xfffffffe");
    assert_fault!(fault_of(&body, 1, 32), FaultKind::Divergence { members: 0xffff_fffe, .. });
    // a lane that takes no part is read
    let body = "setp.ge.u32 %p1, %r1, 16; @%p1 bra ON; shfl.sync.bfly.b32 %r2, %r1, 16, 31, 0xffff; ON:";
    assert_fault!(fault_of(body, 1, 32), FaultKind::ShuffleSource { source_lane: 16.. });
    // the last warp is not full: its lanes may shuffle among themselves
    passes("shfl.sync.bfly.b32 %r2, %r1, 4, 31, 0xffffffff;", 1, 40);
    assert_fault!(fault_of("shfl.sync.bfly.b32 %r2, %r1, 8, 31, 0xffffffff;", 1, 40), FaultKind::ShuffleSource { .. });
    passes("setp.lt.u32 %p1, %r1, 16; @%p1 bra ON; shfl.sync.bfly.b32 %r2, %r1, 1, 31, 0xffff0000; ON:", 1, 32);
    let vote = "setp.eq.u32 %p2, %r1, 0; @%p2 bra ON; vote.sync.any.pred %p1, %p2, 0xffffffff; ON:";
    assert_fault!(fault_of(vote, 1, 32), FaultKind::Divergence { operation: "vote.sync", .. });
    let warp = "setp.eq.u32 %p2, %r1, 0; @%p2 bra ON; bar.warp.sync 0xffffffff; ON:";
    assert_fault!(fault_of(warp, 1, 32), FaultKind::Divergence { operation: "bar.warp.sync", .. });
}

#[test]
fn lanes_meet_at_warp_barriers_in_different_places() {
    let body =
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra A; bar.warp.sync 0xffffffff; bra.uni B; A: bar.warp.sync 0xffffffff; B:";
    passes(body, 1, 64);
}

#[test]
fn lanes_that_have_exited() {
    let body = "setp.eq.u32 %p1, %r1, 5; @%p1 ret; shfl.sync.bfly.b32 %r2, %r1, 1, 31, 0xffffffff;";
    assert_fault!(fault_of(body, 1, 32), FaultKind::Divergence { .. });
    let fault = fault_of("setp.eq.u32 %p1, %r1, 5; @%p1 ret; bar.sync 0;", 1, 64);
    assert_eq!(
        fault.kind,
        FaultKind::Barrier { barrier: 0, waiting: 63, reason: "1 others have exited, of 64 that it is for".into() }
    );
}

#[test]
fn divergent_barriers() {
    // within a warp
    let body = "setp.lt.u32 %p1, %r1, 16; @%p1 bra A; bar.sync 0; bra.uni B; A: bar.sync 0; B:";
    assert_fault!(fault_of(body, 1, 32), FaultKind::Divergence { operation: "bar.sync", .. });
    // between warps
    assert_fault!(fault_of(&body.replace("16", "32"), 1, 64), FaultKind::Barrier { .. });
    // never both at one barrier
    let body = "setp.lt.u32 %p1, %r1, 32; @%p1 bra A; bar.sync 1; bra.uni B; A: bar.sync 2; B:";
    assert_fault!(fault_of(body, 1, 64), FaultKind::Barrier { .. });
    passes("setp.lt.u32 %p1, %r1, 16; @%p1 bra A; mov.u32 %r2, 1; A: bar.sync 0;", 1, 64);
}

/// Copies 16 bytes of `a` to shared memory and then does `after`, in each of 32 threads.
fn copied(after: &str) -> String {
    format!(
        "mul.lo.u32 %r2, %r1, 8; mov.u32 %r3, s; add.u32 %r3, %r3, %r2;
         mul.wide.u32 %rd3, %r1, 8; add.u64 %rd4, %rd1, %rd3;
         cp.async.ca.shared.global [%r3], [%rd4], 8; cp.async.commit_group; {after}"
    )
}

#[test]
fn copies_that_are_not_waited_for() {
    passes(&copied("cp.async.wait_group 0; ld.shared.u32 %r4, [%r3];"), 1, 32);
    passes(&copied("cp.async.wait_all; bar.sync 0; ld.shared.u32 %r4, [s+128];"), 1, 32);
    assert_fault!(fault_of(&copied("ld.shared.u32 %r4, [%r3];"), 1, 32), FaultKind::AsyncPending { .. });
    assert_fault!(
        fault_of(&copied("cp.async.wait_group 1; ld.shared.u32 %r4, [%r3];"), 1, 32),
        FaultKind::AsyncPending { .. }
    );
    assert_fault!(
        fault_of(&copied("st.shared.u32 [%r3+4], %r1;"), 1, 32),
        FaultKind::AsyncPending { access: "store", .. }
    );
    // not in a group yet
    let open = copied("cp.async.wait_group 0; ld.shared.u32 %r4, [%r3];").replace("cp.async.commit_group;", "");
    assert_fault!(fault_of(&open, 1, 32), FaultKind::AsyncPending { .. });
    // waited for by the thread that copied, but read by another
    let fault = fault_of(&copied("cp.async.wait_group 0; xor.b32 %r3, %r3, 8; ld.shared.u32 %r4, [%r3];"), 1, 32);
    assert_fault!(fault, FaultKind::Race { .. } | FaultKind::AsyncPending { .. });
    let fault = fault_of(&copied("mov.u32 %r5, 9; st.global.u32 [%rd4], %r5; cp.async.wait_group 0;"), 1, 32);
    assert_fault!(fault, FaultKind::AsyncSourceOverwritten { .. });
}

#[test]
fn the_launch_is_refused() {
    let refused = |body: &str, blocks, threads| {
        let fault = run_with(body, blocks, threads, &Options::default()).expect_err("refused");
        assert_eq!(fault.line, 0);
        fault.to_string()
    };
    assert_eq!(refused("", 1, 1025), "k: blocks of [1025, 1, 1] threads: at most 1024 are possible");
    assert_eq!(refused("", 0, 32), "k: a grid of [0, 1, 1] blocks of [32, 1, 1] threads is empty");
    let small = Options { shared_limit: 319, ..Options::default() };
    let fault = run_with("ld.shared.u32 %r2, [s];", 1, 1, &small).expect_err("too much");
    assert_eq!(fault.to_string(), "k: 320 bytes of shared memory: at most 319 are possible");
    let large = parse(&small_kernel("mov.u32 %r2, s;").replace("s[256]", "s[49153]"));
    let arguments = [Argument::Address(0), Argument::Address(0)];
    let fault = launch(&large, "k", (1, 1, 0), &arguments, &mut Memory::new(), &Options::default());
    let expected = "k: 49153 bytes of static shared memory: at most 49152 are possible";
    assert_eq!(fault.expect_err("too much").to_string(), expected);
    let bounded = small_kernel("").replace(".param .u64 b)", ".param .u64 b) .maxntid 64, 1, 1");
    let module = parse(&bounded);
    assert_eq!(module.kernels()[0].max_threads(), Some(64));
    let run = |module: &Module, threads, arguments: &[Argument<'_>]| {
        let result = launch(module, "k", (1, threads, 0), arguments, &mut Memory::new(), &Options::default());
        result.expect_err("refused").to_string()
    };
    let arguments = [Argument::Address(0), Argument::Address(0)];
    assert_eq!(run(&module, 65, &arguments), "k: blocks of [65, 1, 1] threads: at most 64 are possible");
    assert_eq!(run(&module, 64, &arguments[..1]), "k: 1 parameters are given, the kernel has 2");
    let arguments = [Argument::Address(0), Argument::Number(0)];
    assert_eq!(run(&module, 64, &arguments), "k: parameter 1 has 8 bytes, 4 are given");
}

#[test]
fn loops_without_an_end_and_traps() {
    assert_fault!(fault_of("HERE: bra.uni HERE;", 1, 64), FaultKind::InstructionLimit { limit: 100_000 });
    // one lane waits for what another would do
    let body = "setp.eq.u32 %p1, %r1, 0; @%p1 bra WRITE; WAIT: ld.volatile.global.u32 %r2, [%rd1];
        setp.eq.u32 %p2, %r2, 0; @%p2 bra WAIT; bra.uni END; WRITE: mov.u32 %r2, 1; st.volatile.global.u32 [%rd1], %r2; END:";
    for order in ORDERS {
        run_with(body, 1, 2, &Options { order, ..Options::default() }).expect("both lanes get their turn");
    }
    assert_fault!(fault_of("trap;", 1, 1), FaultKind::Trap { .. });
    let module = parse(&small_kernel("").replace("ret;", ""));
    let mut memory = Memory::new();
    let arguments = [Argument::Address(0), Argument::Address(0)];
    let fault = launch(&module, "k", (1, 1, 0), &arguments, &mut memory, &Options::default()).expect_err("no end");
    assert_fault!(fault, FaultKind::ControlFlow { .. });
}

#[test]
fn memory_tells_the_host_what_is_wrong() {
    let mut memory = Memory::with_capacity(1000);
    let error = |result: Result<u64, ptxsim::MemoryError>| result.expect_err("refused").to_string();
    assert_eq!(error(memory.allocate(0)), "an allocation of 0 bytes isn't possible");
    let a = memory.allocate(600).expect("there is room");
    assert_eq!(error(memory.allocate(500)), "500 bytes are wanted, 400 of 1000 are free");
    let write = memory.write(a + 598, &[0; 4]).expect_err("past the end").to_string();
    assert_eq!(write, format!("4 bytes at {:#x}: 2 bytes past the end of an allocation of 600 at {a:#x}", a + 598));
    assert_eq!(
        memory.free(a + 4).expect_err("not the start").to_string(),
        format!("{:#x} isn't the start of an allocation", a + 4)
    );
    assert_eq!(memory.allocation(a + 599), Some((a, 600)));
    assert_eq!(memory.allocation(a + 600), None);
    memory.free(a).expect("allocated");
    memory.allocate(1000).expect("there is room again");
}
