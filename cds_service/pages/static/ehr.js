// What would an EHR answer to a prefetch template about this patient?
//
// Enough of FHIR search for the templates that a service may ask with. What this page cannot
// answer is left out of the prefetch, as an EHR does, and reported.

const DATES = ["effectiveDateTime", "performedDateTime", "authoredOn", "recordedDate", "issued"];
const TOKENS = {
  category: "category",
  code: "code",
  status: "status",
  intent: "intent",
  "clinical-status": "clinicalStatus",
  "verification-status": "verificationStatus",
};

// { prefetch, skipped }: skipped lists the keys whose template could not be answered.
export function prefetchFor(templates, context, patient) {
  const prefetch = {};
  const skipped = [];
  for (const [key, template] of Object.entries(templates ?? {})) {
    const query = filled(template, context, patient.asOf);
    const found = query === null ? undefined : answer(query, patient);
    if (found === undefined) skipped.push(key);
    else prefetch[key] = found;
  }
  return { prefetch, skipped };
}

function filled(template, context, today) {
  const query = template.replace(/\{\{\s*([^}]+?)\s*\}\}/g, (whole, token) => {
    if (token.startsWith("context.")) return context[token.slice(8)] ?? whole;
    return day(token, today) ?? whole;
  });
  return query.includes("{{") ? null : query;
}

// today(), and today() plus or minus a number of days
function day(token, today) {
  const parts = /^today\(\)(?:\s*([+-])\s*(\d+)(?:\s+days?)?)?$/.exec(token);
  if (!parts) return null;
  const date = new Date(`${today}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() + Number(`${parts[1] ?? "+"}${parts[2] ?? 0}`));
  return date.toISOString().slice(0, 10);
}

function answer(query, patient) {
  const [path, parameters] = query.split("?");
  const [type, id] = path.split("/");
  if (patient.failing.includes(type)) {
    return {
      resourceType: "OperationOutcome",
      issue: [{ severity: "error", code: "exception", diagnostics: "the query failed" }],
    };
  }
  const held = patient.resources.filter((r) => r.resourceType === type);
  if (parameters === undefined) return held.find((r) => r.id === id) ?? null;
  return search(held, new URLSearchParams(parameters), query);
}

function search(held, parameters, query) {
  let found = held;
  let count = Infinity;
  for (const [name, value] of parameters) {
    if (name === "_count") count = Number(value);
    else if (name === "_sort") found = sorted(found, value);
    else {
      const test = testFor(name, value);
      if (test === null) return undefined;
      found = found.filter(test);
    }
  }
  const bundle = { resourceType: "Bundle", type: "searchset", total: found.length };
  if (found.length > count) {
    bundle.link = [{ relation: "next", url: `https://ehr.example/fhir/${query}&page=2` }];
  }
  if (found.length) {
    bundle.entry = found
      .slice(0, count)
      .map((resource) => ({ resource, search: { mode: "match" } }));
  }
  return bundle;
}

const dateOf = (resource) => DATES.map((name) => resource[name]).find(Boolean) ?? "";

function sorted(found, by) {
  const sign = by.startsWith("-") ? -1 : 1;
  return [...found].sort((a, b) => sign * dateOf(a).localeCompare(dateOf(b)));
}

function testFor(name, value) {
  if (name === "patient" || name === "subject") {
    const reference = value.includes("/") ? value : `Patient/${value}`;
    return (r) => (r.subject ?? r.patient)?.reference === reference;
  }
  if (name in TOKENS) {
    const wanted = value.split(",");
    return (r) => codes(r[TOKENS[name]]).some((code) => wanted.includes(code));
  }
  if (["date", "authoredon", "recorded-date", "effective-time", "authored"].includes(name)) {
    const parts = /^(eq|ge|gt|le|lt)?(\d{4}-\d{2}-\d{2})/.exec(value);
    return parts && ((r) => compare(dateOf(r).slice(0, 10), parts[1] ?? "eq", parts[2]));
  }
  return null;
}

function compare(ours, prefix, theirs) {
  if (!ours) return false;
  return { eq: ours === theirs, ge: ours >= theirs, gt: ours > theirs, le: ours <= theirs, lt: ours < theirs }[prefix];
}

function codes(element) {
  if (typeof element === "string") return [element];
  if (Array.isArray(element)) return element.flatMap(codes);
  return (element?.coding ?? []).flatMap((c) => [c.code, `${c.system ?? ""}|${c.code}`]);
}
