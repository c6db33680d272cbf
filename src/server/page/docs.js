// Shows /openapi.json: every operation with its fields and its answers.

const made = (name, text, ...inside) => {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  element.append(...inside);
  return element;
};

/** What `$ref` leads to. */
const followed = (api, value) => {
  if (!value?.$ref) return value;
  return value.$ref.slice(2).split("/").reduce((at, step) => at[step], api);
};

/** A field's values in few words. */
const kind = (schema) => {
  if (schema.enum) return schema.enum.join(", ");
  if (schema.items) return `list of ${kind(schema.items)}`;
  const bounds = [schema.minimum, schema.maximum].filter((bound) => bound !== undefined);
  return [schema.format ?? schema.type, bounds.length ? `(${bounds.join(" to ")})` : ""].join(" ").trim();
};

const table = (heads, rows) => {
  const line = (cell) => (texts) => made("tr", "", ...texts.map((text) => made(cell, text)));
  return made("table", "", made("thead", "", line("th")(heads)), made("tbody", "", ...rows.map(line("td"))));
};

const fields = (api, operation) => {
  const content = operation.requestBody?.content["multipart/form-data"];
  if (!content) return [];
  const schema = followed(api, content.schema);
  const rows = Object.entries(schema.properties).map(([name, field]) => [
    schema.required?.includes(name) ? `${name} (required)` : name,
    kind(field),
    field.default === undefined ? "" : String(field.default),
    field.description ?? "",
  ]);
  return [made("h3", "Form fields"), table(["Field", "Values", "Default", "Meaning"], rows)];
};

const section = (api, path, method, operation) => {
  const answers = Object.entries(operation.responses).map(([status, answer]) => [
    status,
    followed(api, answer).description,
  ]);
  return made(
    "section", "",
    made("h2", `${method.toUpperCase()} ${path}`),
    made("p", operation.summary),
    ...fields(api, operation),
    made("h3", "Answers"),
    table(["Status", "Meaning"], answers),
  );
};

const api = await (await fetch("/openapi.json")).json();
const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => section(api, path, method, operation)));
document.getElementById("operations").replaceChildren(...operations);
