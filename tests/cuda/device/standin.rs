//! The stand-in libcuda, and what it lets tests see and set.

use std::ffi::{CString, c_char};
use std::path::PathBuf;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};

type GetText = unsafe extern "C" fn(i32, *mut c_char, usize) -> usize;

/// The functions that a driver doesn't have.
pub struct Standin {
    set: Symbol<unsafe extern "C" fn(i32, *const c_char, u64) -> u32>,
    reset: Symbol<unsafe extern "C" fn(i32) -> u32>,
    calls: Symbol<GetText>,
    clear_calls: Symbol<unsafe extern "C" fn(i32)>,
    fault: Symbol<GetText>,
}

impl Standin {
    /// Where cargo puts it: beside the tests.
    pub fn path() -> PathBuf {
        let test = std::env::current_exe().expect("the path of the test");
        test.with_file_name("libcuda_standin.so")
    }

    /// Loads it for the whole process: whoever asks for libcuda.so.1 from now on gets it.
    pub fn load() -> Standin {
        let path = Standin::path();
        assert!(
            path.is_file(),
            "no stand-in for libcuda at {}; cargo builds it with the tests, or set ELONNX_TEST_GPU=1 on a machine with a GPU",
            path.display()
        );
        // SAFETY: its initialisers do nothing; the symbols have the types of its README. It is never unloaded, as it has
        // state.
        unsafe {
            let library = Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL).expect("the stand-in loads");
            let library: &'static Library = Box::leak(Box::new(library));
            Standin {
                set: library.get(b"standin_set\0").expect("a function of the stand-in"),
                reset: library.get(b"standin_reset\0").expect("a function of the stand-in"),
                calls: library.get(b"standin_calls\0").expect("a function of the stand-in"),
                clear_calls: library.get(b"standin_clear_calls\0").expect("a function of the stand-in"),
                fault: library.get(b"standin_fault\0").expect("a function of the stand-in"),
            }
        }
    }

    #[track_caller]
    pub fn set(&self, device: i32, option: &str, value: u64) {
        let name = CString::new(option).expect("no NUL");
        // SAFETY: a NUL-terminated name.
        assert_eq!(unsafe { (self.set)(device, name.as_ptr(), value) }, 0, "option {option} = {value}");
    }

    #[track_caller]
    pub fn reset(&self, device: i32) {
        // SAFETY: takes any number.
        assert_eq!(unsafe { (self.reset)(device) }, 0, "device {device}");
    }

    /// The calls of a device, a line each.
    pub fn calls(&self, device: i32) -> Vec<String> {
        read(&self.calls, device).lines().map(str::to_owned).collect()
    }

    pub fn clear_calls(&self, device: i32) {
        // SAFETY: takes any number.
        unsafe { (self.clear_calls)(device) };
    }

    /// The interpreter's words on the last fault.
    pub fn fault(&self, device: i32) -> String {
        read(&self.fault, device)
    }
}

fn read(get: &Symbol<GetText>, device: i32) -> String {
    // SAFETY: null for the size, then as many bytes as said. Only the holder of a device makes calls on it, so the text
    // doesn't grow in between.
    unsafe {
        let mut bytes = vec![0u8; get(device, std::ptr::null_mut(), 0)];
        get(device, bytes.as_mut_ptr().cast(), bytes.len());
        bytes.pop();
        String::from_utf8(bytes).expect("UTF-8")
    }
}
