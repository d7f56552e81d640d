//! The library as programs see it: loaded by its file, called through its symbols.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::{LazyLock, Mutex, MutexGuard};

use libloading::Library;

/// A program of three kernels: `store` writes a value to an address, `wide` wants 8-byte alignment, `staged` has dynamic
/// shared memory.
const PTX: &CStr = cr#"
.version 8.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 staging[];
.visible .entry store(.param .u64 store_0, .param .u32 store_1)
.maxntid 64, 1, 1
{
    .reg .b32 %r<6>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [store_0];
    ld.param.u32 %r1, [store_1];
    cvta.to.global.u64 %rd2, %rd1;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    mul.wide.s32 %rd3, %r5, 4;
    add.s64 %rd4, %rd2, %rd3;
    st.global.u32 [%rd4], %r1;
    ret;
}
.visible .entry wide(.param .u64 wide_0)
{
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [wide_0];
    cvta.to.global.u64 %rd2, %rd1;
    ld.global.u64 %rd3, [%rd2];
    ret;
}
.visible .entry staged(.param .u64 staged_0)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [staged_0];
    cvta.to.global.u64 %rd2, %rd1;
    mov.u32 %r1, 7;
    mov.u32 %r3, staging;
    st.shared.u32 [%r3], %r1;
    ld.shared.u32 %r2, [%r3];
    st.global.u32 [%rd2], %r2;
    ret;
}
"#;

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let test = std::env::current_exe().unwrap();
    let path = test.with_file_name("libcuda_standin.so");
    // SAFETY: its initialisers do nothing.
    unsafe { Library::new(&path) }.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
});

/// Calls a function of the library with arguments of C types.
macro_rules! cu {
    ($name:ident($($argument:expr => $type:ty),* $(,)?)) => {{
        // SAFETY: a function of cuda.h or the README, with its types; the arguments are what the test makes of them.
        unsafe {
            let function = LIBRARY.get::<unsafe extern "C" fn($($type),*) -> u32>(concat!(stringify!($name), "\0").as_bytes());
            function.unwrap_or_else(|error| panic!("{error}"))($($argument),*)
        }
    }};
}

type Handle = *mut c_void;

/// One test at a time has a device, with a context of its own.
struct Device {
    ordinal: c_int,
    context: Handle,
    _turn: MutexGuard<'static, ()>,
}

impl Device {
    /// Its context is current.
    fn new(ordinal: c_int) -> Device {
        static TURNS: [Mutex<()>; 4] = [const { Mutex::new(()) }; 4];
        let turn = TURNS[ordinal as usize].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut context = null_mut();
        assert_eq!(cu!(cuInit(0 => u32)), 0);
        assert_eq!(cu!(standin_reset(ordinal => c_int)), 0);
        assert_eq!(cu!(cuCtxCreate_v2(&mut context => *mut Handle, 0 => u32, ordinal => c_int)), 0);
        Device { ordinal, context, _turn: turn }
    }

    fn set(&self, option: &CStr, value: u64) {
        assert_eq!(cu!(standin_set(self.ordinal => c_int, option.as_ptr() => *const c_char, value => u64)), 0);
    }

    fn text(&self, what: &str) -> String {
        type Get = unsafe extern "C" fn(c_int, *mut c_char, usize) -> usize;
        // SAFETY: null for the size, then as many bytes as said.
        unsafe {
            let get = LIBRARY.get::<Get>(what.as_bytes()).unwrap();
            let mut bytes = vec![0u8; get(self.ordinal, null_mut(), 0)];
            get(self.ordinal, bytes.as_mut_ptr().cast(), bytes.len());
            CString::from_vec_with_nul(bytes).unwrap().into_string().unwrap()
        }
    }

    fn allocate(&self, bytes: usize) -> u64 {
        let mut address = 0;
        assert_eq!(cu!(cuMemAlloc_v2(&mut address => *mut u64, bytes => usize)), 0);
        address
    }

    fn stream(&self) -> Handle {
        let mut stream = null_mut();
        assert_eq!(cu!(cuStreamCreate(&mut stream => *mut Handle, 1 => u32)), 0);
        stream
    }

    fn function(&self, name: &CStr) -> Handle {
        let (mut module, mut function) = (null_mut(), null_mut());
        let image = PTX.as_ptr().cast();
        assert_eq!(cu!(cuModuleLoadData(&mut module => *mut Handle, image => *const c_void)), 0);
        let code =
            cu!(cuModuleGetFunction(&mut function => *mut Handle, module => Handle, name.as_ptr() => *const c_char));
        assert_eq!(code, 0);
        function
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        cu!(cuCtxDestroy_v2(self.context => Handle));
    }
}

/// Launches a function with an address and a number as parameters.
fn launch(function: Handle, grid: [u32; 3], block: [u32; 3], shared: u32, stream: Handle, address: u64) -> u32 {
    let value = 42u32;
    let mut parameters: [*const c_void; 2] = [(&raw const address).cast(), (&raw const value).cast()];
    cu!(cuLaunchKernel(
        function => Handle,
        grid[0] => u32, grid[1] => u32, grid[2] => u32,
        block[0] => u32, block[1] => u32, block[2] => u32,
        shared => u32,
        stream => Handle,
        parameters.as_mut_ptr() => *mut *const c_void,
        null_mut() => *mut *mut c_void,
    ))
}

fn read(address: u64, count: usize) -> Vec<u32> {
    let mut values = vec![0u32; count];
    let bytes = 4 * count;
    assert_eq!(cu!(cuMemcpyDtoH_v2(values.as_mut_ptr().cast() => *mut c_void, address => u64, bytes => usize)), 0);
    values
}

fn fill(address: u64, bytes: usize) {
    assert_eq!(cu!(cuMemsetD8_v2(address => u64, 0 => u8, bytes => usize)), 0);
}

const ONE: [u32; 3] = [1, 1, 1];

#[test]
fn a_kernel_runs() {
    let device = Device::new(0);
    let (address, stream) = (device.allocate(1024), device.stream());
    fill(address, 1024);
    let store = device.function(c"store");
    assert_eq!(launch(store, [2, 1, 1], [64, 1, 1], 0, stream, address), 0);
    assert_eq!(cu!(cuStreamSynchronize(stream => Handle)), 0);
    let values = read(address, 256);
    assert!(values[..128].iter().all(|&x| x == 42) && values[128..].iter().all(|&x| x == 0));
    let calls = device.text("standin_calls");
    let line = format!(
        "cuLaunchKernel name=store grid=2,1,1 block=64,1,1 shared=0 parameters={address:#x},0x2a stream={:#x}",
        stream.addr()
    );
    assert!(calls.lines().any(|call| call == line), "{calls}");
}

#[test]
fn wrong_handles_are_errors() {
    let device = Device::new(0);
    let (address, stream, store) = (device.allocate(64), device.stream(), device.function(c"store"));
    let wrong = 0x1234 as Handle;
    assert_eq!(launch(wrong, ONE, ONE, 0, stream, address), 400);
    assert_eq!(launch(store, ONE, ONE, 0, wrong, address), 400);
    // a handle of another kind
    assert_eq!(launch(stream, ONE, ONE, 0, stream, address), 400);
    assert_eq!(cu!(cuStreamSynchronize(store => Handle)), 400);
    assert_eq!(cu!(cuModuleUnload(stream => Handle)), 400);
    assert_eq!(cu!(cuMemFree_v2(address + 4 => u64)), 1);
    assert_eq!(cu!(cuCtxPushCurrent_v2(stream => Handle)), 201);
    // what belonged to a destroyed context is gone
    let context = device.context;
    assert_eq!(cu!(cuCtxDestroy_v2(context => Handle)), 0);
    assert_eq!(cu!(cuStreamSynchronize(stream => Handle)), 400);
    assert_eq!(cu!(cuCtxPushCurrent_v2(context => Handle)), 201);
}

#[test]
fn calls_need_a_current_context_and_their_own() {
    let device = Device::new(0);
    let (address, stream, store) = (device.allocate(64), device.stream(), device.function(c"store"));
    let mut popped = null_mut();
    assert_eq!(cu!(cuCtxPopCurrent_v2(&mut popped => *mut Handle)), 0);
    assert_eq!(popped, device.context);
    assert_eq!(cu!(cuCtxPopCurrent_v2(&mut popped => *mut Handle)), 201);
    let mut other = 0;
    assert_eq!(cu!(cuMemAlloc_v2(&mut other => *mut u64, 8 => usize)), 201);
    assert_eq!(launch(store, ONE, ONE, 0, stream, address), 201);
    {
        let neighbour = Device::new(1);
        assert_eq!(launch(store, ONE, ONE, 0, stream, address), 400, "the context is not that of the stream");
        let mut context = null_mut();
        assert_eq!(cu!(cuStreamGetCtx(stream => Handle, &mut context => *mut Handle)), 0);
        assert!(context == device.context && context != neighbour.context);
    }
    assert_eq!(cu!(cuCtxSetCurrent(device.context => Handle)), 0);
    assert_eq!(launch(store, ONE, ONE, 0, stream, address), 0);
}

/// As drivers do: who keeps something for a context must ask for its id.
#[test]
fn a_new_context_may_have_the_handle_of_one_that_is_gone() {
    let contexts = [(); 2].map(|()| {
        let device = Device::new(3);
        let mut id = 0;
        assert_eq!(cu!(cuCtxGetId(device.context => Handle, &mut id => *mut u64)), 0);
        (device.context.addr(), id)
    });
    assert!(contexts[0].0 == contexts[1].0 && contexts[0].1 != contexts[1].1, "{contexts:?}");
}

#[test]
fn faults_stay_in_the_context() {
    for (name, offset, code, words) in
        [(c"store", 4096, 700, "store of 4 bytes"), (c"wide", 4, 716, "not a multiple of 8")]
    {
        let device = Device::new(2);
        let (address, stream) = (device.allocate(64), device.stream());
        fill(address, 64);
        assert_eq!(device.text("standin_fault"), "");
        assert_eq!(launch(device.function(name), ONE, ONE, 0, stream, address + offset), 0);
        assert_eq!(cu!(cuStreamSynchronize(stream => Handle)), code);
        let mut other = 0;
        assert_eq!(cu!(cuMemAlloc_v2(&mut other => *mut u64, 8 => usize)), code);
        let fault = device.text("standin_fault");
        assert!(fault.contains(words) && fault.contains(name.to_str().unwrap()), "{fault}");
    }
    // a new context has nothing of it
    let device = Device::new(2);
    let address = device.allocate(64);
    assert_eq!(launch(device.function(c"store"), ONE, ONE, 0, device.stream(), address), 0);
    assert_eq!(cu!(cuCtxSynchronize()), 0);
}

#[test]
fn launches_have_limits() {
    let device = Device::new(3);
    let (address, stream, store) = (device.allocate(1 << 20), device.stream(), device.function(c"store"));
    for (grid, block) in
        [([0, 1, 1], ONE), (ONE, [0, 1, 1]), ([1, 65_536, 1], ONE), (ONE, [65, 1, 1]), (ONE, [1, 1, 65])]
    {
        assert_eq!(launch(store, grid, block, 0, stream, address), 1, "{grid:?} {block:?}");
    }
    let staged = device.function(c"staged");
    let limit =
        |function: Handle, bytes: c_int| cu!(cuFuncSetAttribute(function => Handle, 8 => c_int, bytes => c_int));
    assert_eq!(launch(staged, ONE, ONE, 48 << 10, stream, address), 0);
    assert_eq!(launch(staged, ONE, ONE, (48 << 10) + 1, stream, address), 1, "more must be asked for");
    assert_eq!(limit(staged, 163 << 10), 0);
    assert_eq!(launch(staged, ONE, ONE, 163 << 10, stream, address), 0);
    assert_eq!(limit(staged, (163 << 10) + 1), 1, "more than the device has");
    device.set(c"capability", 86);
    assert_eq!(limit(staged, 100 << 10), 1);
    assert_eq!(limit(staged, 99 << 10), 0);
    assert_eq!(read(address, 1), [7]);
}

#[test]
fn ptx_is_refused_with_words() {
    let device = Device::new(1);
    let load = |image: &CStr| {
        let mut log = [0u8; 200];
        let mut module: Handle = null_mut();
        let names = [5, 6];
        let values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), 200 as Handle];
        let code = cu!(cuModuleLoadDataEx(
            &mut module => *mut Handle,
            image.as_ptr().cast() => *const c_void,
            2 => u32,
            names.as_ptr() => *const c_int,
            values.as_ptr() => *const *mut c_void,
        ));
        (code, CStr::from_bytes_until_nul(&log).unwrap().to_str().unwrap().to_owned())
    };
    assert_eq!(load(PTX).0, 0);
    assert_eq!(load(c"\x7fELF\x02").0, 209);
    assert_eq!(load(c"not PTX").0, 200);
    let (code, log) = load(c".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry f() { nonsense.u32 %r1; }");
    assert!(code == 218 && log.contains("line 4"), "{code}: {log}");
    device.set(c"driver", 11_080);
    let (code, log) = load(PTX);
    assert!(code == 222 && log.contains("Unsupported .version 8.0; current version is '7.8'"), "{code}: {log}");
    let (mut module, mut function) = (null_mut(), null_mut());
    device.set(c"driver", 12_000);
    assert_eq!(cu!(cuModuleLoadData(&mut module => *mut Handle, PTX.as_ptr().cast() => *const c_void)), 0);
    let name = c"absent".as_ptr();
    assert_eq!(cu!(cuModuleGetFunction(&mut function => *mut Handle, module => Handle, name => *const c_char)), 500);
}

#[test]
fn failures_come_when_they_are_ordered() {
    let device = Device::new(1);
    let (address, stream, store) = (device.allocate(64), device.stream(), device.function(c"store"));
    device.set(c"fail_launch", 2);
    device.set(c"launch_error", 2);
    let codes = [(); 3].map(|()| launch(store, ONE, ONE, 0, stream, address));
    assert_eq!(codes, [0, 2, 0]);
    device.set(c"fail_allocation", 1);
    let mut other = 0;
    assert_eq!(cu!(cuMemAlloc_v2(&mut other => *mut u64, 8 => usize)), 2);
    device.set(c"memory", 1 << 20);
    assert_eq!(cu!(cuMemAlloc_v2(&mut other => *mut u64, 1 << 20 => usize)), 2);
    assert_eq!(cu!(cuMemAlloc_v2(&mut other => *mut u64, 1 << 19 => usize)), 0);
    assert_eq!(cu!(cuMemFree_v2(other => u64)), 0);
    assert_eq!(cu!(standin_set(1 => c_int, c"colour".as_ptr() => *const c_char, 3 => u64)), 1);
    assert_eq!(cu!(standin_set(9 => c_int, c"order".as_ptr() => *const c_char, 3 => u64)), 1);
}

#[test]
fn captured_launches_are_replayed() {
    let device = Device::new(3);
    let (address, stream, store) = (device.allocate(256), device.stream(), device.function(c"store"));
    fill(address, 256);
    let (mut graph, mut executable, mut status) = (null_mut(), null_mut(), 9);
    let thread_local = 1;
    assert_eq!(cu!(cuStreamBeginCapture_v2(stream => Handle, thread_local => c_int)), 0);
    assert_eq!(cu!(cuStreamIsCapturing(stream => Handle, &mut status => *mut c_int)), 0);
    assert_eq!(status, 1);
    assert_eq!(launch(store, ONE, [2, 1, 1], 0, stream, address), 0);
    assert_eq!(cu!(cuStreamEndCapture(stream => Handle, &mut graph => *mut Handle)), 0);
    assert_eq!(read(address, 2), [0, 0]);
    let flags = 0;
    let code = cu!(cuGraphInstantiateWithFlags(&mut executable => *mut Handle, graph => Handle, flags => u64));
    assert_eq!(code, 0);
    assert_eq!(cu!(cuGraphLaunch(executable => Handle, stream => Handle)), 0);
    assert_eq!(read(address, 3), [42, 42, 0]);

    // what a graph cannot hold spoils the capture
    assert_eq!(cu!(cuStreamBeginCapture_v2(stream => Handle, thread_local => c_int)), 0);
    let mut other = 0;
    assert_eq!(cu!(cuMemAlloc_v2(&mut other => *mut u64, 8 => usize)), 900);
    assert_eq!(launch(store, ONE, ONE, 0, stream, address), 901);
    assert_eq!(cu!(cuStreamEndCapture(stream => Handle, &mut graph => *mut Handle)), 901);
    assert_eq!(cu!(cuMemAlloc_v2(&mut other => *mut u64, 8 => usize)), 0);
}

#[test]
fn devices_have_their_own_memory() {
    let first = Device::new(0);
    let address = first.allocate(64);
    fill(address, 64);
    let second = Device::new(1);
    let (store, stream) = (second.function(c"store"), second.stream());
    let other = second.allocate(64);
    assert!(address.abs_diff(other) > 4 << 30, "addresses are those of one device");
    assert_eq!(launch(store, ONE, ONE, 0, stream, address), 0);
    assert_eq!(cu!(cuCtxSynchronize()), 700, "memory of another device");
}

#[test]
fn codes_have_the_drivers_words() {
    let words = |code: c_int| {
        let (mut name, mut text) = (null(), null());
        let found = cu!(cuGetErrorName(code => c_int, &mut name => *mut *const c_char));
        cu!(cuGetErrorString(code => c_int, &mut text => *mut *const c_char));
        // SAFETY: static strings where they are found.
        (found == 0).then(|| unsafe { (CStr::from_ptr(name), CStr::from_ptr(text)) })
    };
    assert_eq!(words(700), Some((c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered")));
    assert_eq!(words(0), Some((c"CUDA_SUCCESS", c"no error")));
    assert_eq!(words(4711), None);
}
