//! A Rust program that runs our operators: through `ort` with the operators in-process, through `ort` with the plugin
//! file, and through the C API with several ONNX Runtimes in one process.
//!
//! Needs a libonnxruntime: `ORT_DYLIB_PATH`, or one that `tools/python_envs` installed. Without, the tests say so and do
//! nothing.
#![cfg(feature = "runtime")]

mod libraries;

use std::path::PathBuf;
use std::sync::OnceLock;

use elonnx::loss::{EncouragingLoss, Reduction};
use elonnx::model::proto::{DataType, NodeProto, OperatorSetIdProto, ValueInfoProto};
use elonnx::model::{Dimension, node, value_info};
use elonnx::rewrite::{DOMAIN, GRAD_OP, LOSS_AND_GRAD_OP, LOSS_OP};
use elonnx::runtime::WithElonnx;
use elonnx::runtime::library::{Candidate, Origin};
use half::{bf16, f16};
use libraries::{installed, library, skip};
use ort::session::{Session, builder::SessionBuilder};
use ort::value::{PrimitiveTensorElementType, Tensor};
use prost::Message;

const N: usize = 6;
const C: usize = 10;
const LABELS: [i64; N] = [0, 1, 2, 9, 9, 5];

fn logits() -> Vec<f32> {
    (0..N * C).map(|i| ((i * 7919) % 13) as f32 * 0.4 - 1.0).collect()
}

fn builder(test: &str) -> Option<SessionBuilder> {
    // `ort` allows one per process
    static ENVIRONMENT: OnceLock<ort::environment::Environment> = OnceLock::new();
    let library = library(test)?;
    let make = || ort::init_from(library).unwrap().with_telemetry(false).build().unwrap();
    Some(Session::builder(ENVIRONMENT.get_or_init(make)).unwrap())
}

/// The plugin that cargo built beside this test.
fn plugin() -> PathBuf {
    let name = format!("{}elonnx{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().join(name);
    assert!(path.is_file(), "{} is missing", path.display());
    path
}

// ModelProto and GraphProto as far as a model of one node needs them
#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, optional, tag = "1")]
    ir_version: Option<i64>,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

/// A model of one node with reduction none; logits [N, C] of a type, labels int64.
fn model(op: &str, logits: DataType) -> Vec<u8> {
    let batch = || Dimension::Symbol("N".to_owned());
    let float = |name, dims: Option<&[Dimension]>| value_info(name, logits as i32, dims);
    let mut inputs = vec![
        float("logits", Some(&[batch(), Dimension::Known(C as i64)])),
        value_info("labels", DataType::Int64 as i32, Some(&[batch()])),
    ];
    let margin = value_info("margin", DataType::Float as i32, None);
    let outputs = match op {
        LOSS_OP => vec![float("loss", None), margin],
        GRAD_OP => {
            inputs.insert(0, float("dloss", Some(&[batch()])));
            vec![float("dlogits", None)]
        }
        _ => vec![float("loss", None), margin, float("dlogits", None)],
    };
    let names = |values: &[ValueInfoProto]| values.iter().map(|v| v.name.clone().unwrap()).collect::<Vec<_>>();
    let node = node(op)
        .domain(DOMAIN)
        .name("el")
        .inputs(names(&inputs))
        .outputs(names(&outputs))
        .string("reduction", "none")
        .build();
    let opset = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) };
    ModelProto {
        ir_version: Some(8),
        graph: Some(GraphProto { node: vec![node], name: Some("g".to_owned()), input: inputs, output: outputs }),
        opset_import: vec![opset("", 17), opset(DOMAIN, 1)],
    }
    .encode_to_vec()
}

fn loss() -> EncouragingLoss {
    EncouragingLoss::builder().reduction(Reduction::None).build().unwrap()
}

fn assert_close(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{name}[{i}]: {got}, expected {want}");
    }
}

/// Runs loss and gradient in one go and holds them against the library's own.
fn check_both<T>(session: &mut Session, from: fn(f32) -> T, to: fn(T) -> f32, tolerance: f32)
where
    T: elonnx::loss::Element + PrimitiveTensorElementType + std::fmt::Debug,
{
    let x: Vec<T> = logits().into_iter().map(from).collect();
    let want = loss().forward_backward(&x, &[N, C], &LABELS, None).unwrap();
    let outputs = session
        .run(ort::inputs![
            "logits" => Tensor::from_array(([N, C], x)).unwrap(),
            "labels" => Tensor::from_array(([N], LABELS.to_vec())).unwrap(),
        ])
        .unwrap();
    let floats = |values: &[T]| values.iter().map(|&v| to(v)).collect::<Vec<f32>>();
    for (name, shape, want) in
        [("loss", vec![N as i64], &want.loss), ("dlogits", vec![N as i64, C as i64], &want.dlogits)]
    {
        let (got_shape, got) = outputs[name].try_extract_tensor::<T>().unwrap();
        assert_eq!(got_shape.to_vec(), shape);
        assert_close(name, &floats(got), &floats(want), tolerance);
    }
    assert_close("margin", outputs["margin"].try_extract_tensor::<f32>().unwrap().1, &want.margin, 1e-6);
}

#[test]
fn operators_in_process() {
    let Some(_) = builder("operators_in_process") else { return };
    let session = |data_type| {
        builder("").unwrap().with_elonnx().unwrap().commit_from_memory(&model(LOSS_AND_GRAD_OP, data_type)).unwrap()
    };
    check_both::<f32>(&mut session(DataType::Float), |x| x, |x| x, 1e-6);
    check_both::<f64>(&mut session(DataType::Double), f64::from, |x| x as f32, 1e-6);
    check_both::<f16>(&mut session(DataType::Float16), f16::from_f32, f16::to_f32, 1e-6);
    check_both::<bf16>(&mut session(DataType::Bfloat16), bf16::from_f32, bf16::to_f32, 1e-6);
}

#[test]
fn the_gradient_operator_takes_a_gradient_per_row() {
    let Some(builder) = builder("the_gradient_operator_takes_a_gradient_per_row") else { return };
    let mut session = builder.with_elonnx().unwrap().commit_from_memory(&model(GRAD_OP, DataType::Float)).unwrap();
    let dloss: Vec<f32> = (0..N).map(|i| i as f32 - 2.0).collect();
    let want = loss().backward(&dloss, &logits(), &[N, C], &LABELS, None).unwrap();
    let outputs = session
        .run(ort::inputs![
            "dloss" => Tensor::from_array(([N], dloss)).unwrap(),
            "logits" => Tensor::from_array(([N, C], logits())).unwrap(),
            "labels" => Tensor::from_array(([N], LABELS.to_vec())).unwrap(),
        ])
        .unwrap();
    assert_close("dlogits", outputs["dlogits"].try_extract_tensor::<f32>().unwrap().1, &want, 1e-6);
}

#[test]
fn the_plugin_file_and_both_ways_at_once() {
    let Some(_) = builder("the_plugin_file_and_both_ways_at_once") else { return };
    let model = model(LOSS_AND_GRAD_OP, DataType::Float);
    let from_file =
        |builder: SessionBuilder| builder.with_operator_library(plugin()).map_err(|e| e.to_string()).unwrap();
    let mut file = from_file(builder("").unwrap()).commit_from_memory(&model).unwrap();
    check_both::<f32>(&mut file, |x| x, |x| x, 1e-6);
    let twice = builder("").unwrap().with_elonnx().unwrap().with_elonnx().unwrap();
    let mut both = from_file(twice).commit_from_memory(&model).unwrap();
    check_both::<f32>(&mut both, |x| x, |x| x, 1e-6);
}

#[test]
fn output_shapes_are_known_where_the_host_can_be_told() {
    let test = "output_shapes_are_known_where_the_host_can_be_told";
    let (Some(builder), Some(library)) = (builder(test), library(test)) else { return };
    let version = Candidate::probe(library, Origin::Argument).version.unwrap();
    let session = builder.with_elonnx().unwrap().commit_from_memory(&model(LOSS_AND_GRAD_OP, DataType::Float)).unwrap();
    let shape = session.outputs()[2].dtype().tensor_shape().unwrap().to_vec();
    if version.minor >= 24 {
        assert_eq!(shape, [-1, C as i64], "ONNX Runtime {version}");
    }
}

#[test]
fn a_wrong_label_is_an_error_with_a_sentence() {
    let Some(builder) = builder("a_wrong_label_is_an_error_with_a_sentence") else { return };
    let mut session = builder.with_elonnx().unwrap().commit_from_memory(&model(LOSS_OP, DataType::Float)).unwrap();
    let error = session
        .run(ort::inputs![
            "logits" => Tensor::from_array(([N, C], logits())).unwrap(),
            "labels" => Tensor::from_array(([N], vec![0i64, 1, 2, 10, 4, 5])).unwrap(),
        ])
        .unwrap_err();
    assert_eq!(error.code(), ort::ErrorCode::InvalidArgument);
    assert!(error.to_string().contains("EncouragingLoss: label 10 of row 3 is outside [0, 10)"), "{error}");
}

/// One ONNX Runtime through its C API, as a program in any language would use it.
mod c_api {
    use std::ffi::{CStr, c_void};
    use std::path::Path;
    use std::ptr::{null, null_mut};

    use libloading::Library;
    use ort_sys::{
        ONNXTensorElementDataType as ElementType, OrtAllocatorType, OrtApi, OrtApiBase, OrtEnv, OrtLoggingLevel,
        OrtMemType, OrtSession, OrtSessionOptions, OrtStatusPtr,
    };

    type RegisterCustomOps = unsafe extern "system" fn(*mut OrtSessionOptions, *const OrtApiBase) -> OrtStatusPtr;

    pub struct Host {
        base: *const OrtApiBase,
        api: *const OrtApi,
        env: *mut OrtEnv,
    }

    impl Host {
        pub fn load(library: &Path) -> Host {
            // leaked: ONNX Runtime doesn't like to be unloaded
            // SAFETY: an ONNX Runtime, whose initialisers do no harm.
            let library = Box::leak(Box::new(unsafe { Library::new(library) }.unwrap()));
            // SAFETY: the types are those of ONNX Runtime's C API.
            unsafe {
                let get = library.get::<unsafe extern "system" fn() -> *const OrtApiBase>(b"OrtGetApiBase").unwrap();
                let base = get();
                let api = ((*base).GetApi)(17);
                assert!(!api.is_null());
                let mut host = Host { base, api, env: null_mut() };
                let mut env = null_mut();
                let level = OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL;
                host.check(((*api).CreateEnv)(level, c"sessions".as_ptr(), &mut env));
                host.env = env;
                host
            }
        }

        pub fn version(&self) -> String {
            // SAFETY: the base lives as long as the library; its text is static.
            unsafe { CStr::from_ptr(((*self.base).GetVersionString)()) }.to_str().unwrap().to_owned()
        }

        fn check(&self, status: OrtStatusPtr) {
            if !status.0.is_null() {
                // SAFETY: the status is not null; its message lives as long.
                let message = unsafe { CStr::from_ptr(((*self.api).GetErrorMessage)(status.0)) };
                panic!("ONNX Runtime {}: {}", self.version(), message.to_string_lossy());
            }
        }

        pub fn session(&self, model: &[u8], plugin: &Library) -> *mut OrtSession {
            let (mut options, mut session) = (null_mut(), null_mut());
            // SAFETY: all pointers are to values of this function or of the host.
            unsafe {
                self.check(((*self.api).CreateSessionOptions)(&mut options));
                let register = plugin.get::<RegisterCustomOps>(b"RegisterCustomOps").unwrap();
                self.check(register(options, self.base));
                self.check(((*self.api).CreateSessionFromArray)(
                    self.env,
                    model.as_ptr().cast(),
                    model.len(),
                    options,
                    &mut session,
                ));
                ((*self.api).ReleaseSessionOptions)(options);
            }
            session
        }

        pub fn close(&self, session: *mut OrtSession) {
            // SAFETY: the session is of this host and closed once.
            unsafe { ((*self.api).ReleaseSession)(session) }
        }

        /// The first output of a model with inputs logits [n, c] and labels [n], as `n` floats, or the error.
        pub fn run(&self, session: *mut OrtSession, logits: &[f32], labels: &[i64]) -> Result<Vec<f32>, String> {
            let (n, c) = (labels.len(), logits.len() / labels.len());
            // SAFETY: all pointers are to values of this function or of the host; tensors don't outlive their data.
            unsafe {
                let mut memory = null_mut();
                let (allocator, kind) = (OrtAllocatorType::OrtArenaAllocator, OrtMemType::OrtMemTypeDefault);
                self.check(((*self.api).CreateCpuMemoryInfo)(allocator, kind, &mut memory));
                let tensor = |data: *const c_void, bytes: usize, shape: &[i64], element: ElementType| {
                    let mut value = null_mut();
                    self.check(((*self.api).CreateTensorWithDataAsOrtValue)(
                        memory,
                        data.cast_mut(),
                        bytes,
                        shape.as_ptr(),
                        shape.len(),
                        element,
                        &mut value,
                    ));
                    value
                };
                let float = ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
                let int = ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
                let x = tensor(logits.as_ptr().cast(), size_of_val(logits), &[n as i64, c as i64], float);
                let y = tensor(labels.as_ptr().cast(), size_of_val(labels), &[n as i64], int);
                let (inputs, outputs) = ([c"logits".as_ptr(), c"labels".as_ptr()], [c"loss".as_ptr()]);
                let values = [x.cast_const(), y.cast_const()];
                let mut loss = null_mut();
                let status = ((*self.api).Run)(
                    session,
                    null(),
                    inputs.as_ptr(),
                    values.as_ptr(),
                    2,
                    outputs.as_ptr(),
                    1,
                    &mut loss,
                );
                let result = if status.0.is_null() {
                    let mut data: *mut c_void = null_mut();
                    self.check(((*self.api).GetTensorMutableData)(loss, &mut data));
                    let values = std::slice::from_raw_parts(data.cast::<f32>(), n).to_vec();
                    ((*self.api).ReleaseValue)(loss);
                    Ok(values)
                } else {
                    let message =
                        CStr::from_ptr(((*self.api).GetErrorMessage)(status.0)).to_string_lossy().into_owned();
                    ((*self.api).ReleaseStatus)(status.0);
                    Err(message)
                };
                ((*self.api).ReleaseValue)(x);
                ((*self.api).ReleaseValue)(y);
                ((*self.api).ReleaseMemoryInfo)(memory);
                result
            }
        }
    }
}

#[test]
fn one_plugin_serves_several_onnx_runtimes_in_a_process() {
    let paths = installed();
    if paths.len() < 2 {
        return skip("one_plugin_serves_several_onnx_runtimes_in_a_process", "two libonnxruntime");
    }
    // SAFETY: our own plugin.
    let plugin = unsafe { libloading::Library::new(plugin()) }.unwrap();
    let hosts: Vec<_> = paths.iter().map(|path| c_api::Host::load(path)).collect();
    let model = model(LOSS_OP, DataType::Float);
    let sessions: Vec<_> = hosts.iter().map(|host| host.session(&model, &plugin)).collect();
    let want = loss().forward(&logits(), &[N, C], &LABELS, None).unwrap().loss;
    for round in 0..2 {
        for (host, &session) in hosts.iter().zip(&sessions) {
            let got = host.run(session, &logits(), &LABELS).unwrap();
            assert_close(&format!("{} in round {round}", host.version()), &got, &want, 1e-6);
            // an error is made by the host that the session belongs to
            let error = host.run(session, &logits(), &[-7; N]).unwrap_err();
            assert!(error.contains("label -7 of row 0"), "{}: {error}", host.version());
        }
    }
    for (host, session) in hosts.iter().zip(sessions) {
        host.close(session);
    }
}
