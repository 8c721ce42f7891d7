use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;
use serde_json::{Map, Value};

use super::document::document;
use super::signature::Signature;
use super::{About, Operation, Schemas};
use crate::app::App;
use crate::quota;

/// Routes with their description.
#[derive(Default)]
pub struct Api {
    paths: Vec<(&'static str, Methods)>,
}

/// What one path answers to.
#[derive(Default)]
pub struct Methods {
    router: MethodRouter<Arc<App>>,
    operations: Vec<Described>,
    is_metered: bool,
}

struct Described {
    method: &'static str,
    signature: fn(&mut Operation<'_>),
    about: About,
}

impl Api {
    /// Adds a path.
    pub fn route(mut self, path: &'static str, methods: Methods) -> Self {
        self.paths.push((path, methods));
        self
    }

    /// As OpenAPI 3.1 has it.
    pub fn document(&self) -> Value {
        let mut schemas = Schemas::new();
        let mut paths = Map::new();
        for (path, methods) in &self.paths {
            let operations = methods.operations.iter().map(|described| {
                let mut operation = Operation::new(path, &mut schemas);
                (described.signature)(&mut operation);
                operation.about(&described.about, described.method != "get");
                (described.method.to_owned(), operation.finish(described.method, &described.about))
            });
            paths.insert(path.replace('*', ""), Value::Object(operations.collect()));
        }
        document(paths, &mut schemas)
    }

    /// As axum has it.
    pub fn into_router(self, app: &Arc<App>) -> Router<Arc<App>> {
        self.paths.into_iter().fold(Router::new(), |router, (path, methods)| {
            let Methods { router: methods, is_metered, .. } = methods;
            let told = from_fn_with_state(Arc::clone(app), quota::tell);
            router.route(path, if is_metered { methods.layer(told) } else { methods })
        })
    }
}

impl Methods {
    /// The answers tell what is left of the day.
    pub fn metered(self) -> Self {
        Self { is_metered: true, ..self }
    }

    /// With a layer around the handlers so far.
    pub fn within(self, layer: impl FnOnce(MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>>) -> Self {
        Self { router: layer(self.router), ..self }
    }
}

/// A function that begins [`Methods`], where there is a use for one, and a method that goes on.
macro_rules! verb {
    ($verb:ident) => {
        impl Methods {
            /// Adds a handler and what is to be said about it.
            pub fn $verb<H, T, A>(mut self, handler: H, about: About) -> Self
            where
                H: Handler<T, Arc<App>> + Signature<A>,
                T: 'static,
            {
                let signature = <H as Signature<A>>::describe;
                self.operations.push(Described { method: stringify!($verb), signature, about });
                Self { router: self.router.$verb(handler), ..self }
            }
        }
    };
    ($verb:ident begins) => {
        verb!($verb);

        /// Begins with a handler and what is to be said about it.
        pub fn $verb<H, T, A>(handler: H, about: About) -> Methods
        where
            H: Handler<T, Arc<App>> + Signature<A>,
            T: 'static,
        {
            Methods::default().$verb(handler, about)
        }
    };
}

verb!(get begins);
verb!(post begins);
verb!(delete begins);
verb!(patch);
verb!(put);
