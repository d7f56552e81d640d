//! Modules: PTX text, read by the interpreter, and their kernels.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use crate::capture;
use crate::code::Code;
use crate::context;
use crate::entry::{self, Outcome, lock, write};
use crate::handles;
use crate::options::Options;

/// Shared memory that a block has without asking: more must be opted in to, per kernel.
pub(crate) const SHARED_WITHOUT_ASKING: u32 = 48 << 10;

struct Module {
    context: usize,
    ptx: Arc<ptxsim::Module>,
}

/// A kernel of a module.
pub(crate) struct Function {
    pub(crate) context: usize,
    pub(crate) name: String,
    ptx: Arc<ptxsim::Module>,
    /// what `cuFuncSetAttribute` allowed
    pub(crate) dynamic_shared: AtomicU32,
}

impl Function {
    pub(crate) fn kernel(&self) -> Outcome<&ptxsim::Kernel> {
        self.ptx.kernel(&self.name).ok_or(Code::ERROR_INVALID_HANDLE)
    }

    pub(crate) fn static_shared(&self) -> Outcome<u32> {
        Ok(self.kernel()?.static_shared())
    }
}

/// Reads PTX once per text, however many contexts load it.
fn parse(text: &str) -> Result<Arc<ptxsim::Module>, ptxsim::ParseError> {
    static READ: LazyLock<Mutex<HashMap<String, Arc<ptxsim::Module>>>> = LazyLock::new(Mutex::default);
    let mut read = lock(&READ);
    if let Some(module) = read.get(text) {
        return Ok(Arc::clone(module));
    }
    let module = Arc::new(ptxsim::Module::parse(text)?);
    read.insert(text.to_owned(), Arc::clone(&module));
    Ok(module)
}

/// The number after a directive such as `.version`, without its dot: `8.0` is (8, 0).
fn version(text: &str) -> Option<(u32, u32)> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(".version"))?;
    let (major, minor) = line.trim().split_once('.')?;
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, digits.parse().ok()?))
}

/// `.target sm_80` is 80.
fn target(text: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(".target"))?;
    let digits: String = line.trim().strip_prefix("sm_")?.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// What a driver would say of the text, in ptxas's words, and its code.
fn compile(text: &str, options: &Options) -> Result<Arc<ptxsim::Module>, (Code, String)> {
    let Some(ptx) = version(text) else {
        return Err((Code::ERROR_INVALID_IMAGE, String::new()));
    };
    let newest = options.newest_ptx();
    if ptx > newest {
        let line = 1 + text.lines().take_while(|line| !line.trim_start().starts_with(".version")).count();
        let log = format!(
            "ptxas application ptx input, line {line}; fatal   : Unsupported .version {}.{}; current version is '{}.{}'",
            ptx.0, ptx.1, newest.0, newest.1
        );
        return Err((Code::ERROR_UNSUPPORTED_PTX_VERSION, log));
    }
    if target(text).is_some_and(|target| target > options.capability) {
        let log = "ptxas fatal   : SM version specified by .target is higher than default SM version assumed";
        return Err((Code::ERROR_INVALID_PTX, log.to_owned()));
    }
    parse(text).map_err(|error| {
        let log = format!("ptxas application ptx input, line {}; error   : {error}", error.line);
        (Code::ERROR_INVALID_PTX, log)
    })
}

/// The buffers for the words of the compiler, among the options of `cuModuleLoadDataEx`.
struct ErrorLog {
    buffer: *mut c_char,
    size: usize,
}

/// `CU_JIT_ERROR_LOG_BUFFER`
const ERROR_LOG_BUFFER: c_int = 5;
/// `CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES`
const ERROR_LOG_SIZE: c_int = 6;

impl ErrorLog {
    /// # Safety
    /// `names` and `values` must be valid for reading `count` entries each.
    unsafe fn find(count: c_uint, names: *const c_int, values: *const *mut c_void) -> ErrorLog {
        let mut log = ErrorLog { buffer: std::ptr::null_mut(), size: 0 };
        for i in 0..count as usize {
            // SAFETY: the caller's. Sizes are passed as if they were pointers.
            let (name, value) = unsafe { (names.add(i).read(), values.add(i).read()) };
            match name {
                ERROR_LOG_BUFFER => log.buffer = value.cast(),
                ERROR_LOG_SIZE => log.size = value.addr() & u32::MAX as usize,
                _ => {}
            }
        }
        log
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut usize, image: *const c_void) -> u32 {
    // SAFETY: the caller's; no options.
    unsafe { cuModuleLoadDataEx(module, image, 0, std::ptr::null(), std::ptr::null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut usize,
    image: *const c_void,
    count: c_uint,
    names: *const c_int,
    values: *const *mut c_void,
) -> u32 {
    entry::initialised(|| {
        let context = context::healthy()?;
        let device = context.device;
        device.calls.add(format_args!("cuModuleLoadData context={:#x}", context.handle));
        capture::refuse(None)?;
        if image.is_null() || count > 0 && (names.is_null() || values.is_null()) {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        // SAFETY: not null; an image is binary with a known start, or NUL-terminated text.
        let text = unsafe {
            if is_binary(image.cast()) {
                return Err(Code::ERROR_NO_BINARY_FOR_GPU);
            }
            CStr::from_ptr(image.cast())
        };
        if lock(&device.options).fail_load.strikes() {
            return Err(Code::ERROR_OUT_OF_MEMORY);
        }
        match compile(&text.to_string_lossy(), &device.options()) {
            Ok(ptx) => {
                let handle = handles::add(context.handle, |_| Module { context: context.handle, ptx });
                // SAFETY: the caller's.
                unsafe { write(module, handle) }
            }
            Err((code, words)) => {
                // SAFETY: the caller's.
                unsafe {
                    let log = ErrorLog::find(count, names, values);
                    crate::device::write_text(&words, log.buffer, log.size);
                }
                Err(code)
            }
        }
    })
}

/// Whether an image is an ELF file or a fat binary.
///
/// # Safety
/// `image` must be valid for reading one byte, and four where the first is that of a binary.
unsafe fn is_binary(image: *const u8) -> bool {
    // SAFETY: the caller's; text ends at its NUL at the earliest, and neither start has one.
    unsafe {
        match image.read() {
            0x7f => true,
            0x50 => image.add(1).read() == 0xed,
            _ => false,
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleUnload(module: usize) -> u32 {
    entry::initialised(|| {
        context::healthy()?.device.calls.add(format_args!("cuModuleUnload"));
        handles::remove::<Module>(module).map(drop)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(function: *mut usize, module: usize, name: *const c_char) -> u32 {
    entry::initialised(|| {
        let context = context::healthy()?;
        let module = handles::get::<Module>(module)?;
        if name.is_null() {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        // SAFETY: not null, NUL-terminated by the caller.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        context.device.calls.add(format_args!("cuModuleGetFunction name={name}"));
        if module.context != context.handle {
            return Err(Code::ERROR_INVALID_HANDLE);
        }
        if module.ptx.kernel(&name).is_none() {
            return Err(Code::ERROR_NOT_FOUND);
        }
        let ptx = Arc::clone(&module.ptx);
        let handle = handles::add(module.context, |_| Function {
            context: module.context,
            name,
            ptx,
            dynamic_shared: AtomicU32::new(0),
        });
        // SAFETY: the caller's.
        unsafe { write(function, handle) }
    })
}

/// `CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK`
const MAX_THREADS: c_int = 0;
/// `CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES`
const STATIC_SHARED: c_int = 1;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`
const DYNAMIC_SHARED: c_int = 8;
/// `CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT`
const CARVEOUT: c_int = 9;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncSetAttribute(function: usize, attribute: c_int, value: c_int) -> u32 {
    entry::initialised(|| {
        let function = handles::get::<Function>(function)?;
        let context = context::by_handle(function.context)?;
        context.device.calls.add(format_args!("cuFuncSetAttribute name={} {attribute}={value}", function.name));
        context.check()?;
        match attribute {
            DYNAMIC_SHARED => {
                let room = context.device.options().shared().saturating_sub(function.static_shared()?);
                let bytes = u32::try_from(value).map_err(|_| Code::ERROR_INVALID_VALUE)?;
                if bytes > room {
                    return Err(Code::ERROR_INVALID_VALUE);
                }
                function.dynamic_shared.store(bytes, Ordering::Release);
                Ok(())
            }
            CARVEOUT if (-1..=100).contains(&value) => Ok(()),
            _ => Err(Code::ERROR_INVALID_VALUE),
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, function: usize) -> u32 {
    entry::initialised(|| {
        let function = handles::get::<Function>(function)?;
        let number = match attribute {
            MAX_THREADS => function.kernel()?.max_threads().unwrap_or(1024),
            STATIC_SHARED => function.static_shared()?,
            DYNAMIC_SHARED => match function.dynamic_shared.load(Ordering::Acquire) {
                0 => SHARED_WITHOUT_ASKING.saturating_sub(function.static_shared()?),
                bytes => bytes,
            },
            _ => return Err(Code::ERROR_INVALID_VALUE),
        };
        // SAFETY: the caller's.
        unsafe { write(value, number.cast_signed()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        let text = "//\n// made by\n.version 8.0\n.target sm_90a\n.address_size 64\n";
        assert_eq!((version(text), target(text)), (Some((8, 0)), Some(90)));
        assert_eq!((version("no PTX"), target("no PTX")), (None, None));
    }

    #[test]
    fn what_a_driver_does_not_take_is_refused_in_ptxas_words() {
        let mut options = Options::default();
        assert!(options.set("driver", 11_080));
        let refused = |text: &str, options: &Options| match compile(text, options) {
            Ok(_) => panic!("taken"),
            Err((code, log)) => (code, log),
        };
        let (code, log) = refused("\n.version 8.0\n.target sm_80\n", &options);
        assert_eq!(code, Code::ERROR_UNSUPPORTED_PTX_VERSION);
        assert_eq!(
            log,
            "ptxas application ptx input, line 2; fatal   : Unsupported .version 8.0; current version is '7.8'"
        );
        let (code, log) = refused(".version 7.8\n.target sm_90\n", &options);
        assert!(code == Code::ERROR_INVALID_PTX && log.contains("higher than"), "{log}");
        assert_eq!(refused("__global__ void f();", &options).0, Code::ERROR_INVALID_IMAGE);
    }
}
