//! The host's function table. What it does not have is a function that says so and ends the process, so that a plugin
//! which calls more than these is found out.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

use ort_sys::{
    ONNXTensorElementDataType, OrtApi, OrtCustomOp, OrtCustomOpDomain, OrtErrorCode, OrtKernelContext, OrtKernelInfo,
    OrtSessionOptions, OrtStatus, OrtStatusPtr, OrtTensorTypeAndShapeInfo, OrtValue,
};

use super::kernel::{Attribute, Node, Run, Tensor};
use super::{Domain, SessionOptions, Status};

/// The table, the same for all versions.
pub fn table() -> *const OrtApi {
    struct Table(*const OrtApi);
    // SAFETY: functions that any thread may call.
    unsafe impl Send for Table {}
    // SAFETY: as above.
    unsafe impl Sync for Table {}
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table(make_table())).0
}

extern "system" fn absent() -> ! {
    eprintln!("the plugin called a function of ONNX Runtime that the stand-in host does not have");
    std::process::abort();
}

macro_rules! fill {
    ($table:ident: $($field:ident = $function:expr,)*) => {
        $(
            // SAFETY: a field of the table; the type of the function is that of the field.
            unsafe { (&raw mut (*$table).$field).write($function) };
        )*
    };
}

fn make_table() -> *const OrtApi {
    let functions = size_of::<OrtApi>() / size_of::<usize>();
    // more than any version has, so that a plugin that believes in a larger table calls `absent`, too
    let fields: &'static mut [usize] = vec![absent as *const () as usize; functions.max(512)].leak();
    let table: *mut OrtApi = fields.as_mut_ptr().cast();
    fill! { table:
        CreateStatus = create_status,
        GetErrorCode = get_error_code,
        GetErrorMessage = get_error_message,
        ReleaseStatus = release_status,
        HasSessionConfigEntry = has_session_config_entry,
        AddSessionConfigEntry = add_session_config_entry,
        CreateCustomOpDomain = create_domain,
        ReleaseCustomOpDomain = release_domain,
        CustomOpDomain_Add = add_operator,
        AddCustomOpDomain = add_domain,
        KernelInfoGetAttribute_float = attribute_float,
        KernelInfoGetAttribute_int64 = attribute_int,
        KernelInfoGetAttribute_string = attribute_text,
        KernelInfo_GetNodeName = node_name,
        KernelContext_GetInputCount = input_count,
        KernelContext_GetOutputCount = output_count,
        KernelContext_GetInput = input,
        KernelContext_GetOutput = output,
        KernelContext_GetGPUComputeStream = stream,
        KernelContext_ParallelFor = parallel_for,
        GetTensorTypeAndShape = describe,
        GetTensorElementType = element_type,
        GetDimensionsCount = rank,
        GetDimensions = dimensions,
        ReleaseTensorTypeAndShapeInfo = release_info,
        GetTensorMutableData = data,
    }
    table
}

const OK: OrtStatusPtr = OrtStatusPtr(null_mut());

fn fail(code: OrtErrorCode, message: &str) -> OrtStatusPtr {
    let text = CString::new(message).expect("no NUL");
    OrtStatusPtr(Box::into_raw(Box::new((code as i32, text))).cast())
}

/// Takes a status over.
///
/// # Safety
/// `status` must not be null, made by this host, and not used again.
pub unsafe fn take(status: *mut OrtStatus) -> Status {
    // SAFETY: made by `fail`.
    let (code, text) = *unsafe { Box::from_raw(status.cast::<(i32, CString)>()) };
    Status { code, message: text.into_string().expect("UTF-8") }
}

/// # Safety
/// `pointer` must be a NUL-terminated string.
unsafe fn text<'a>(pointer: *const c_char) -> &'a str {
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(pointer) }.to_str().expect("UTF-8")
}

unsafe extern "system" fn create_status(code: OrtErrorCode, message: *const c_char) -> OrtStatusPtr {
    // SAFETY: the plugin's string.
    fail(code, unsafe { text(message) })
}

unsafe extern "system" fn get_error_code(status: *const OrtStatus) -> OrtErrorCode {
    // SAFETY: a status of this host, whose code came from the enum.
    unsafe { std::mem::transmute((*status.cast::<(i32, CString)>()).0) }
}

unsafe extern "system" fn get_error_message(status: *const OrtStatus) -> *const c_char {
    // SAFETY: a status of this host.
    unsafe { &(*status.cast::<(i32, CString)>()).1 }.as_ptr()
}

unsafe extern "system" fn release_status(status: *mut OrtStatus) {
    if !status.is_null() {
        // SAFETY: a status of this host, given back.
        drop(unsafe { take(status) });
    }
}

unsafe extern "system" fn has_session_config_entry(
    options: *const OrtSessionOptions,
    key: *const c_char,
    found: *mut c_int,
) -> OrtStatusPtr {
    // SAFETY: options of this host, the plugin's string and int.
    unsafe {
        let key = CStr::from_ptr(key);
        *found = c_int::from((*options.cast::<SessionOptions>()).entries.iter().any(|entry| entry.as_c_str() == key));
    }
    OK
}

unsafe extern "system" fn add_session_config_entry(
    options: *mut OrtSessionOptions,
    key: *const c_char,
    _value: *const c_char,
) -> OrtStatusPtr {
    // SAFETY: as above.
    unsafe { (*options.cast::<SessionOptions>()).entries.push(CStr::from_ptr(key).to_owned()) };
    OK
}

unsafe extern "system" fn create_domain(name: *const c_char, domain: *mut *mut OrtCustomOpDomain) -> OrtStatusPtr {
    // SAFETY: the plugin's string and pointer.
    unsafe {
        let made = Domain { name: CStr::from_ptr(name).to_owned(), operators: Vec::new() };
        *domain = Box::into_raw(Box::new(made)).cast();
    }
    OK
}

unsafe extern "system" fn release_domain(domain: *mut OrtCustomOpDomain) {
    // SAFETY: a domain of this host, given back.
    drop(unsafe { Box::from_raw(domain.cast::<Domain>()) });
}

unsafe extern "system" fn add_operator(domain: *mut OrtCustomOpDomain, op: *const OrtCustomOp) -> OrtStatusPtr {
    // SAFETY: a domain of this host.
    unsafe { (*domain.cast::<Domain>()).operators.push(op) };
    OK
}

unsafe extern "system" fn add_domain(options: *mut OrtSessionOptions, domain: *mut OrtCustomOpDomain) -> OrtStatusPtr {
    // SAFETY: options and a domain of this host.
    unsafe { (*options.cast::<SessionOptions>()).domains.push(domain.cast()) };
    OK
}

/// An attribute of the wanted type, or what ONNX Runtime says.
///
/// # Safety
/// `info` must be a [`Node`] and `name` a string.
unsafe fn attribute<'a, T>(
    info: *const OrtKernelInfo,
    name: *const c_char,
    as_wanted: fn(&'a Attribute) -> Option<T>,
) -> Result<T, OrtStatusPtr> {
    // SAFETY: the caller's.
    let (node, name) = unsafe { (&*info.cast::<Node>(), text(name)) };
    let found = node.attributes.iter().find(|(known, _)| *known == name);
    let (_, value) =
        found.ok_or_else(|| fail(OrtErrorCode::ORT_FAIL, &format!("No attribute with name:'{name}'is defined.")))?;
    as_wanted(value).ok_or_else(|| fail(OrtErrorCode::ORT_FAIL, "Attribute name and type don't match"))
}

unsafe extern "system" fn attribute_float(
    info: *const OrtKernelInfo,
    name: *const c_char,
    out: *mut f32,
) -> OrtStatusPtr {
    let as_float = |value: &Attribute| if let Attribute::Float(value) = value { Some(*value) } else { None };
    // SAFETY: a node of this host, the plugin's string and float.
    unsafe {
        attribute(info, name, as_float).map_or_else(
            |status| status,
            |value| {
                *out = value;
                OK
            },
        )
    }
}

unsafe extern "system" fn attribute_int(
    info: *const OrtKernelInfo,
    name: *const c_char,
    out: *mut i64,
) -> OrtStatusPtr {
    let as_int = |value: &Attribute| if let Attribute::Int(value) = value { Some(*value) } else { None };
    // SAFETY: as above.
    unsafe {
        attribute(info, name, as_int).map_or_else(
            |status| status,
            |value| {
                *out = value;
                OK
            },
        )
    }
}

unsafe extern "system" fn attribute_text(
    info: *const OrtKernelInfo,
    name: *const c_char,
    out: *mut c_char,
    size: *mut usize,
) -> OrtStatusPtr {
    let as_text = |value: &'static Attribute| if let Attribute::Text(value) = value { Some(*value) } else { None };
    // SAFETY: as above; `out` is null or has `size` bytes.
    unsafe { attribute(info, name, as_text).map_or_else(|status| status, |value| give_text(value, out, size)) }
}

unsafe extern "system" fn node_name(info: *const OrtKernelInfo, out: *mut c_char, size: *mut usize) -> OrtStatusPtr {
    // SAFETY: as above.
    unsafe { give_text((*info.cast::<Node>()).name, out, size) }
}

/// Strings are asked for twice: for the size, then for the bytes.
///
/// # Safety
/// `out` must be null or have `size` bytes.
unsafe fn give_text(text: &str, out: *mut c_char, size: *mut usize) -> OrtStatusPtr {
    let needed = text.len() + 1;
    // SAFETY: the caller's.
    unsafe {
        let room = std::mem::replace(&mut *size, needed);
        if out.is_null() {
            return OK;
        }
        if room < needed {
            return fail(OrtErrorCode::ORT_INVALID_ARGUMENT, "Result buffer is not large enough");
        }
        std::ptr::copy_nonoverlapping(text.as_ptr(), out.cast(), text.len());
        out.add(text.len()).write(0);
    }
    OK
}

unsafe extern "system" fn input_count(context: *const OrtKernelContext, out: *mut usize) -> OrtStatusPtr {
    // SAFETY: a run of this host, the plugin's number.
    unsafe { *out = (*context.cast::<Run>()).inputs.len() };
    OK
}

unsafe extern "system" fn output_count(context: *const OrtKernelContext, out: *mut usize) -> OrtStatusPtr {
    // SAFETY: as above.
    unsafe { *out = (*context.cast::<Run>()).outputs.len() };
    OK
}

unsafe extern "system" fn input(
    context: *const OrtKernelContext,
    index: usize,
    out: *mut *const OrtValue,
) -> OrtStatusPtr {
    // SAFETY: as above.
    let run = unsafe { &*context.cast::<Run>() };
    let Some(input) = run.inputs.get(index) else {
        return fail(OrtErrorCode::ORT_INVALID_ARGUMENT, "no input of that index");
    };
    let value = input.as_ref().map_or(std::ptr::null(), |tensor| std::ptr::from_ref(tensor).cast());
    // SAFETY: the plugin's pointer.
    unsafe { *out = value };
    OK
}

unsafe extern "system" fn output(
    context: *mut OrtKernelContext,
    index: usize,
    dims: *const i64,
    count: usize,
    out: *mut *mut OrtValue,
) -> OrtStatusPtr {
    // SAFETY: a run of this host, which the plugin runs on one thread; `count` dimensions.
    let (run, shape) = unsafe {
        let shape = if count == 0 { &[] } else { std::slice::from_raw_parts(dims, count) };
        (&mut *context.cast::<Run>(), shape)
    };
    let Some(output) = run.outputs.get_mut(index) else {
        return fail(OrtErrorCode::ORT_INVALID_ARGUMENT, "no output of that index");
    };
    let value = match output {
        None => null_mut(),
        Some(tensor) if tensor.shape == shape => std::ptr::from_mut(tensor).cast(),
        Some(tensor) => {
            let message = format!("output {index} is asked for with shape {shape:?}, the test has {:?}", tensor.shape);
            return fail(OrtErrorCode::ORT_FAIL, &message);
        }
    };
    // SAFETY: the plugin's pointer.
    unsafe { *out = value };
    OK
}

unsafe extern "system" fn stream(context: *const OrtKernelContext, out: *mut *mut c_void) -> OrtStatusPtr {
    // SAFETY: a run of this host, the plugin's pointer.
    unsafe { *out = (*context.cast::<Run>()).stream };
    OK
}

unsafe extern "system" fn parallel_for(
    _context: *const OrtKernelContext,
    work: unsafe extern "C" fn(*mut c_void, usize),
    total: usize,
    _batches: usize,
    user: *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: the plugin's function and what it wants passed.
    (0..total).for_each(|index| unsafe { work(user, index) });
    OK
}

unsafe extern "system" fn describe(value: *const OrtValue, out: *mut *mut OrtTensorTypeAndShapeInfo) -> OrtStatusPtr {
    // SAFETY: a tensor of this host, the plugin's pointer.
    unsafe { *out = Box::into_raw(Box::new((*value.cast::<Tensor>()).clone())).cast() };
    OK
}

unsafe extern "system" fn element_type(
    info: *const OrtTensorTypeAndShapeInfo,
    out: *mut ONNXTensorElementDataType,
) -> OrtStatusPtr {
    // SAFETY: an info of this host; the plugin's number.
    unsafe { out.cast::<i32>().write((*info.cast::<Tensor>()).data_type) };
    OK
}

unsafe extern "system" fn rank(info: *const OrtTensorTypeAndShapeInfo, out: *mut usize) -> OrtStatusPtr {
    // SAFETY: as above.
    unsafe { *out = (*info.cast::<Tensor>()).shape.len() };
    OK
}

unsafe extern "system" fn dimensions(
    info: *const OrtTensorTypeAndShapeInfo,
    out: *mut i64,
    count: usize,
) -> OrtStatusPtr {
    // SAFETY: as above; room for `count` numbers.
    unsafe {
        let shape = &(*info.cast::<Tensor>()).shape;
        std::ptr::copy_nonoverlapping(shape.as_ptr(), out, shape.len().min(count));
    }
    OK
}

unsafe extern "system" fn release_info(info: *mut OrtTensorTypeAndShapeInfo) {
    // SAFETY: an info of this host, given back.
    drop(unsafe { Box::from_raw(info.cast::<Tensor>()) });
}

unsafe extern "system" fn data(value: *mut OrtValue, out: *mut *mut c_void) -> OrtStatusPtr {
    // SAFETY: a tensor of this host, the plugin's pointer.
    unsafe { *out = (*value.cast::<Tensor>()).data };
    OK
}
