// The page /docs: draws /openapi.json. Nothing of it is taken for markup.

const STEP = { get: 0, post: 1, put: 2, patch: 3, delete: 4 };

/** An element with attributes and children; texts stay texts. */
function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text with the words between backticks as code. */
function prose(text) {
  return (text ?? "").split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

const nameOf = (reference) => reference.split("/").pop();

/** What a value may be, in a few words. */
function kind(schema) {
  if (schema.$ref) {
    const name = nameOf(schema.$ref);
    return [h("a", { href: `#schema-${name}` }, name)];
  }
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return several.flatMap((one, index) => (index ? [" or ", ...kind(one)] : kind(one)));
  if (schema.const !== undefined) return [h("code", {}, JSON.stringify(schema.const))];
  if (schema.enum) return [`one of ${schema.enum.join(", ")}`];
  const types = [schema.type ?? "anything"].flat();
  if (types.includes("array")) {
    const orNull = types.includes("null") ? " or null" : "";
    return ["list of ", ...kind(schema.items ?? {}), orNull];
  }
  return [`${types.join(" or ")}${limits(schema)}`];
}

function limits(schema) {
  const said = [];
  if (schema.format && !/^u?int|^double|^float/.test(schema.format)) said.push(schema.format);
  if (schema.contentMediaType) said.push("a file");
  const between = (low, high, unit) => {
    if (low !== undefined && high !== undefined) said.push(`${low} to ${high}${unit}`);
    else if (low) said.push(`at least ${low}${unit}`);
    else if (high !== undefined) said.push(`at most ${high}${unit}`);
  };
  between(schema.minimum, schema.maximum, "");
  between(schema.minLength, schema.maxLength, " characters");
  if (schema.default !== undefined && schema.default !== null && schema.default !== "")
    said.push(`${JSON.stringify(schema.default)} if absent`);
  return said.length ? ` (${said.join(", ")})` : "";
}

function table(head, rows) {
  const line = (cell, cells) => h("tr", {}, cells.map((content) => h(cell, cell === "th" ? { scope: "col" } : {}, content)));
  return h("table", {}, h("thead", {}, line("th", head)), h("tbody", {}, rows.map((row) => line("td", row))));
}

/** The members of an object as a table, or what else it is. */
function members(schema) {
  const properties = Object.entries(schema.properties ?? {});
  if (!properties.length) return h("p", {}, kind(schema));
  const required = new Set(schema.required ?? []);
  return table(
    ["Member", "Is", "Meaning"],
    properties.map(([name, member]) => [
      [h("code", {}, name), required.has(name) ? "" : h("span", { class: "may" }, " may be absent")],
      kind(member),
      prose(member.description),
    ]),
  );
}

function parameters(operation) {
  if (!operation.parameters) return null;
  return [
    h("h4", {}, "Parameters"),
    table(
      ["Name", "In", "Is", "Meaning"],
      operation.parameters.map((parameter) => [
        [h("code", {}, parameter.name), parameter.required ? "" : h("span", { class: "may" }, " may be absent")],
        parameter.in,
        kind(parameter.schema),
        prose(parameter.description),
      ]),
    ),
  ];
}

function body(operation) {
  return Object.entries(operation.requestBody?.content ?? {}).map(([type, { schema }]) => [
    h("h4", {}, "Body ", h("code", {}, type)),
    members(schema ?? {}),
  ]);
}

function answers(operation) {
  const rows = Object.entries(operation.responses).map(([status, response]) => [
    h("code", {}, status),
    prose(response.description),
    Object.entries(response.content ?? {}).map(([type, { schema }], index) => [
      index ? h("br") : "",
      h("code", {}, type),
      schema ? [" ", ...kind(schema)] : "",
    ]).flat(2),
  ]);
  return [h("h4", {}, "Answers"), table(["Status", "When", "Body"], rows)];
}

/** A value that fits, for the example. */
function example(schema, name) {
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  if (schema.enum) return schema.enum[0];
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return example(several[0], name);
  const type = [schema.type].flat()[0];
  if (type === "object") return filled(schema);
  if (type === "array") return [example(schema.items ?? {}, name)];
  if (type === "integer" || type === "number") return schema.minimum || 1;
  if (type === "boolean") return true;
  return name === "text" || name === "input" ? "Hello, world" : "…";
}

function filled(schema) {
  const required = new Set(schema.required ?? []);
  const entries = Object.entries(schema.properties ?? {}).filter(([name]) => required.has(name));
  return Object.fromEntries(entries.map(([name, member]) => [name, example(member, name)]));
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(method, path, operation) {
  const words = ["curl"];
  if (method !== "get" && method !== "post") words.push("-X", method.toUpperCase());
  words.push(quoted(`${location.origin}${path}`));
  if (operation.security.length) words.push("-H", '"authorization: Bearer $TOKEN"');
  for (const parameter of operation.parameters ?? [])
    if (parameter.in === "header" && parameter.required) words.push("-H", quoted(`${parameter.name.toLowerCase()}: …`));
  const [type, content] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  if (type === "application/json" && operation.requestBody.required) {
    words.push("-H", quoted(`content-type: ${type}`), "-d", quoted(JSON.stringify(filled(content.schema))));
  } else if (type && operation.requestBody.required) {
    for (const name of content.schema.required ?? []) {
      const isFile = content.schema.properties[name].contentMediaType;
      const flag = type.startsWith("multipart") ? "-F" : "-d";
      words.push(flag, quoted(isFile ? `${name}=@file` : `${name}=…`));
    }
  } else if (method === "post") words.push("-X POST");
  return h("pre", { tabindex: "0" }, h("code", {}, words.join(" ")));
}

function operationOf(method, path, operation) {
  const isPublic = !operation.security.length;
  return h(
    "article",
    { id: operation.operationId },
    h("h3", {}, h("span", { class: "method" }, method.toUpperCase()), " ", h("code", {}, path)),
    h("p", {}, prose(operation.summary), isPublic ? ". Without a token." : ". With a token."),
    parameters(operation),
    body(operation),
    answers(operation),
    curl(method, path, operation),
  );
}

function draw(description) {
  const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .sort(([one], [other]) => STEP[one] - STEP[other])
      .map(([method, operation]) => ({ method, path, operation })),
  );
  const contents = document.getElementById("contents");
  const main = document.getElementById("main");
  for (const { name } of description.tags) {
    const own = operations.filter(({ operation }) => operation.tags.includes(name));
    const id = `section-${name.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
    const links = own.map(({ method, path, operation }) =>
      h("li", {}, h("a", { href: `#${operation.operationId}` }, `${method.toUpperCase()} ${path}`)));
    contents.append(h("details", {}, h("summary", {}, name), h("ul", {}, links)));
    main.append(h("section", { "aria-labelledby": id }, h("h2", { id }, name),
      own.map(({ method, path, operation }) => operationOf(method, path, operation))));
  }
  const schemas = Object.entries(description.components.schemas);
  main.append(h("section", { "aria-labelledby": "section-schemas" }, h("h2", { id: "section-schemas" }, "Schemas"),
    schemas.map(([name, schema]) =>
      h("article", { id: `schema-${name}` }, h("h3", {}, name), h("p", {}, prose(schema.description)), members(schema)))));
}

const state = document.getElementById("state");
try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`${response.status}`);
  draw(await response.json());
  state.hidden = true;
  // What the address names is there only now.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
} catch (error) {
  state.textContent = `The description could not be read (${error.message}). Try again in a moment.`;
}
