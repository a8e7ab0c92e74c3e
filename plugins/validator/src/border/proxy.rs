//! A second descriptor of one capability, whose functions pass calls on to the plugin under test.

mod passing;

use std::ffi::c_void;
use std::sync::{Mutex, OnceLock, PoisonError};

use ablate_abi::{
    absent, Capability, ObjectiveApi, OperatorApi, OptimizerApi, Plugin, ScheduleApi, SizeGated,
    StoppingApi, Str, OBJECTIVE_API, OPERATOR_API, OPTIMIZER_API, SCHEDULE_API, STOPPING_API,
};
use ablate_host::{Kind, Registry};

use super::guarded::Guarded;
use super::library::{Bare, Target};

/// The tables of the plugin under test; those of other kinds are all null.
struct Real {
    plugin: Plugin,
    capabilities: [*const Capability; 1],
    id: &'static str,
    objective: ObjectiveApi,
    optimizer: OptimizerApi,
    schedule: ScheduleApi,
    stopping: StoppingApi,
    operator: OperatorApi,
}

// SAFETY: constant after it is made; the pointers in it are to constant memory.
unsafe impl Send for Real {}
// SAFETY: as above.
unsafe impl Sync for Real {}

static REAL: OnceLock<Real> = OnceLock::new();

/// What was done to memory that belongs to the host.
static DAMAGE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Takes what was noticed so far.
pub(crate) fn damage() -> Vec<String> {
    std::mem::take(&mut *DAMAGE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn look<T: Copy>(memory: &Guarded<T>, hook: &str, what: &str) {
    if !memory.is_intact() {
        DAMAGE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("`{hook}` wrote in front of `{what}`"));
    }
}

/// The id by which a capability of this kind is asked for.
pub(crate) fn extension_of(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Objective => OBJECTIVE_API,
        Kind::Optimizer => OPTIMIZER_API,
        Kind::Schedule => SCHEDULE_API,
        Kind::StoppingRule => STOPPING_API,
        Kind::Operator => OPERATOR_API,
        Kind::Unknown => return None,
    })
}

/// A registry in which the capability is there by way of the proxy. One capability in a process.
pub(crate) fn registry(target: &Target, kind: Kind, name: &str) -> Result<Registry, String> {
    let id = extension_of(kind).ok_or_else(|| format!("there is no use for a {kind}"))?;
    let real = match REAL.get() {
        Some(real) => real,
        None => {
            let made = open(target, id, name)?;
            REAL.get_or_init(|| made)
        }
    };
    let descriptor: &'static Plugin = Box::leak(Box::new(Plugin {
        struct_size: size_of::<Plugin>() as u32,
        capabilities: real.capabilities.as_ptr(),
        capability_count: 1,
        get_extension: Some(get_extension),
        ..real.plugin
    }));
    let mut registry = Registry::new();
    registry.link(descriptor).map_err(|e| e.to_string())?;
    Ok(registry)
}

fn open(target: &Target, id: &'static str, name: &str) -> Result<Real, String> {
    let bare = Bare::open(target, name, id)?;
    let capability = bare
        .capability(name, id)
        .ok_or_else(|| format!("the descriptor has no `{name}` with `{id}`"))?;
    let capability = Box::leak(Box::new(Capability {
        struct_size: size_of::<Capability>() as u32,
        ..capability
    }));
    Ok(Real {
        plugin: bare.plugin,
        capabilities: [std::ptr::from_ref(capability)],
        id,
        objective: table(&bare, name, id, OBJECTIVE_API),
        optimizer: table(&bare, name, id, OPTIMIZER_API),
        schedule: table(&bare, name, id, SCHEDULE_API),
        stopping: table(&bare, name, id, STOPPING_API),
        operator: table(&bare, name, id, OPERATOR_API),
    })
}

fn table<T: SizeGated>(bare: &Bare, name: &str, id: &str, own: &str) -> T {
    if id == own {
        bare.table(name, id)
    } else {
        absent()
    }
}

/// Gives the proxy's table for the id under test, and the plugin's own for every other.
unsafe extern "C" fn get_extension(capability: Str, id: Str) -> *const c_void {
    static OBJECTIVE: OnceLock<ObjectiveApi> = OnceLock::new();
    static OPTIMIZER: OnceLock<OptimizerApi> = OnceLock::new();
    static SCHEDULE: OnceLock<ScheduleApi> = OnceLock::new();
    static STOPPING: OnceLock<StoppingApi> = OnceLock::new();
    static OPERATOR: OnceLock<OperatorApi> = OnceLock::new();
    let Some(real) = REAL.get() else {
        return std::ptr::null();
    };
    // SAFETY: the host's texts are valid during the call.
    let asked = unsafe { id.get() };
    if asked != Some(real.id) {
        return match real.plugin.get_extension {
            // SAFETY: the plugin's own function with the host's own texts.
            Some(get) => unsafe { get(capability, id) },
            None => std::ptr::null(),
        };
    }
    // A function that the plugin lacks stays null, so that the host sees what it would see.
    macro_rules! shown {
        ($cell:ident, $table:ident, $real:expr, { $($field:ident: $shim:path),* $(,)? }) => {{
            let made = $cell.get_or_init(|| {
                let mut shown = $real;
                shown.struct_size = size_of::<$table>() as u32;
                $( if shown.$field.is_some() { shown.$field = Some($shim); } )*
                shown
            });
            std::ptr::from_ref(made).cast()
        }};
    }
    match real.id {
        OBJECTIVE_API => shown!(OBJECTIVE, ObjectiveApi, real.objective, {
            create: passing::create_objective, prepare: passing::prepare,
        }),
        OPTIMIZER_API => shown!(OPTIMIZER, OptimizerApi, real.optimizer, {
            create: passing::create_optimizer, slots: passing::slots, update: passing::update,
        }),
        SCHEDULE_API => shown!(SCHEDULE, ScheduleApi, real.schedule, {
            create: passing::create_schedule, factor: passing::factor,
        }),
        STOPPING_API => shown!(STOPPING, StoppingApi, real.stopping, {
            create: passing::create_stopping, observe: passing::observe, load: passing::load,
        }),
        _ => shown!(OPERATOR, OperatorApi, real.operator, {
            create: passing::create_operator, filter: passing::filter, map: passing::map,
        }),
    }
}
