//! What the tests share: running a kernel, and running single instructions on many values.
#![allow(dead_code)] // each test file uses its part

use ptxsim::{Fault, Launch, Memory, Module, Options, Statistics};

/// The module, or a panic with the sentence of the error.
pub fn parse(ptx: &str) -> Module {
    Module::parse(ptx).unwrap_or_else(|error| panic!("{error}"))
}

/// The text of a file, from the crate's folder.
pub fn text(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A parameter of a launch.
pub enum Argument<'a> {
    /// An address, or another number of 64 bits.
    Address(u64),
    Number(i32),
    Bytes(&'a [u8]),
}

/// Runs a kernel of a module.
pub fn launch(
    module: &Module,
    kernel: &str,
    (grid, block, dynamic_shared): (u32, u32, u32),
    arguments: &[Argument<'_>],
    memory: &mut Memory,
    options: &Options,
) -> Result<Statistics, Box<Fault>> {
    let bytes: Vec<Vec<u8>> = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Address(address) => address.to_le_bytes().to_vec(),
            Argument::Number(number) => number.to_le_bytes().to_vec(),
            Argument::Bytes(bytes) => bytes.to_vec(),
        })
        .collect();
    let parameters: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let kernel = module.kernel(kernel).unwrap_or_else(|| panic!("no kernel {kernel}"));
    let launch = Launch { kernel, grid: [grid, 1, 1], block: [block, 1, 1], dynamic_shared, parameters: &parameters };
    launch.run(memory, options)
}

/// New memory with these bytes in it.
pub fn upload(memory: &mut Memory, bytes: &[u8]) -> u64 {
    let address = memory.allocate(bytes.len()).expect("memory");
    memory.write(address, bytes).expect("in bounds");
    address
}

pub fn download(memory: &Memory, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    memory.read(address, &mut bytes).expect("in bounds");
    bytes
}

/// Numbers as their bytes and back.
pub trait Number: Copy {
    const SIZE: usize;
    fn bytes(self) -> Vec<u8>;
    fn of(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($T:ty),*) => {$(
        impl Number for $T {
            const SIZE: usize = std::mem::size_of::<$T>();
            fn bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
            fn of(bytes: &[u8]) -> Self {
                <$T>::from_le_bytes(bytes.try_into().expect("its size"))
            }
        }
    )*};
}
number!(u16, u32, i32, u64, i64, f32, f64);

pub fn upload_all<T: Number>(memory: &mut Memory, values: &[T]) -> u64 {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.bytes()).collect();
    upload(memory, &bytes)
}

pub fn download_all<T: Number>(memory: &Memory, address: u64, count: usize) -> Vec<T> {
    download(memory, address, count * T::SIZE).chunks(T::SIZE).map(T::of).collect()
}

/// Deterministic numbers without a pattern.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// From 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The head of a module for small kernels.
pub const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

/// A kernel with parameters `a` and `b` (addresses in `%rd1`, `%rd2`), registers of every kind, and this body.
pub fn small_kernel(body: &str) -> String {
    format!(
        "{HEAD}.extern .shared .align 16 .b8 dynamic[];
.visible .entry k(.param .u64 a, .param .u64 b) {{
    .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<19>; .reg .b64 %rd<19>; .reg .f32 %f<9>; .reg .f64 %fd<9>;
    .shared .align 16 .b8 s[256];
    ld.param.u64 %rd1, [a];
    ld.param.u64 %rd2, [b];
    mov.u32 %r1, %tid.x;
    {body}
    ret;
}}
"
    )
}

/// Runs one instruction on each of the inputs. Its sources are `%r`, `%l`, `%h`, `%f`, `%d` (32, 64, 16 bits, f32, f64)
/// with `a` to `d`, and the predicate `%pa` (whether `a` is odd); its destination is one of them with `x`.
pub fn evaluate(instructions: &str, inputs: &[[u64; 4]]) -> Vec<u64> {
    let conversion = match () {
        () if instructions.contains("%rx") => "cvt.u64.u32 %lx, %rx;",
        () if instructions.contains("%hx") => "cvt.u64.u16 %lx, %hx;",
        () if instructions.contains("%fx") => "mov.b32 %rx, %fx; cvt.u64.u32 %lx, %rx;",
        () if instructions.contains("%dx") => "mov.b64 %lx, %dx;",
        () if instructions.contains("%px") => "selp.u64 %lx, 1, 0, %px;",
        () => "",
    };
    let mut loads = String::new();
    for (place, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        loads += &format!(
            "ld.global.u64 %l{name}, [%from+{offset}]; cvt.u32.u64 %r{name}, %l{name}; cvt.u16.u64 %h{name}, %l{name};
             mov.b32 %f{name}, %r{name}; mov.b64 %d{name}, %l{name};\n",
            offset = place * 8
        );
    }
    let ptx = format!(
        "{HEAD}.visible .entry k(.param .u64 a, .param .u64 b, .param .u32 n) {{
        .reg .b64 %la, %lb, %lc, %ld, %lx, %ly, %from, %to, %place;
        .reg .b32 %ra, %rb, %rc, %rd, %rx, %ry, %i, %n, %j; .reg .b16 %ha, %hb, %hc, %hd, %hx;
        .reg .f32 %fa, %fb, %fc, %fd, %fx; .reg .f64 %da, %db, %dc, %dd, %dx; .reg .pred %pa, %px, %py, %end;
        ld.param.u64 %from, [a]; ld.param.u64 %to, [b]; ld.param.u32 %n, [n];
        mov.u32 %i, %ctaid.x; mov.u32 %j, %tid.x; mad.lo.u32 %i, %i, 128, %j;
        setp.ge.u32 %end, %i, %n; @%end ret;
        mul.wide.u32 %place, %i, 32; add.u64 %from, %from, %place;
        mul.wide.u32 %place, %i, 8; add.u64 %to, %to, %place;
        {loads}
        and.b32 %j, %ra, 1; setp.eq.u32 %pa, %j, 1;
        {instructions}
        {conversion}
        st.global.u64 [%to], %lx;
        ret;
        }}"
    );
    let module = parse(&ptx);
    let mut memory = Memory::new();
    let flat: Vec<u64> = inputs.iter().flatten().copied().collect();
    let from = upload_all(&mut memory, &flat);
    let to = memory.allocate(inputs.len() * 8).expect("memory");
    let arguments = [Argument::Address(from), Argument::Address(to), Argument::Number(inputs.len() as i32)];
    let blocks = inputs.len().div_ceil(128) as u32;
    let result = launch(&module, "k", (blocks, 128, 0), &arguments, &mut memory, &Options::default());
    result.unwrap_or_else(|fault| panic!("{instructions}: {fault}"));
    download_all(&memory, to, inputs.len())
}
