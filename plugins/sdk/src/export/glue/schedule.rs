//! The C functions of a schedule.

use ablate_abi::{read_sized, ScheduleApi, ScheduleInput, SCHEDULE_API};

use super::*;
use crate::Schedule;

/// Marks the kind.
pub struct ASchedule;

impl<T: Schedule> Offered<ASchedule> for T {
    const NAME: &'static str = T::NAME;
    const DESCRIPTION: &'static str = T::DESCRIPTION;
    const ID: &'static str = SCHEDULE_API;
    type Config = T::Config;
    type Table = ScheduleApi;
    const TABLE: ScheduleApi = table::<T>();
}

const fn table<T: Schedule>() -> ScheduleApi {
    // SAFETY of all functions below: as for an objective.
    unsafe extern "C" fn make<T: Schedule>(
        h: *const Host,
        c: Str,
        out: *mut *mut c_void,
    ) -> Status {
        unsafe { create::<T::Config, T>(h, c, out, T::new) }
    }
    unsafe extern "C" fn factor<T: Schedule>(
        i: *mut c_void,
        input: *const ScheduleInput,
        out: *mut f64,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, _| {
                let input = read_sized(input)
                    .map_err(|e| Error::Other(format!("the step cannot be read: {e:?}")))?;
                put(out, plugin.factor(input.step))
            })
        }
    }
    ScheduleApi {
        struct_size: size_of::<ScheduleApi>() as u32,
        reserved: 0,
        create: Some(make::<T>),
        destroy: Some(destroy::<T>),
        factor: Some(factor::<T>),
    }
}
