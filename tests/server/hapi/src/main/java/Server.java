import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.rest.annotation.Create;
import ca.uhn.fhir.rest.annotation.IdParam;
import ca.uhn.fhir.rest.annotation.OptionalParam;
import ca.uhn.fhir.rest.annotation.Read;
import ca.uhn.fhir.rest.annotation.ResourceParam;
import ca.uhn.fhir.rest.annotation.Search;
import ca.uhn.fhir.rest.annotation.Sort;
import ca.uhn.fhir.rest.annotation.Update;
import ca.uhn.fhir.rest.api.MethodOutcome;
import ca.uhn.fhir.rest.api.SortSpec;
import ca.uhn.fhir.rest.param.ReferenceParam;
import ca.uhn.fhir.rest.server.FifoMemoryPagingProvider;
import ca.uhn.fhir.rest.server.IResourceProvider;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.exceptions.AuthenticationException;
import ca.uhn.fhir.rest.server.exceptions.ResourceNotFoundException;
import ca.uhn.fhir.rest.server.interceptor.InterceptorAdapter;
import ca.uhn.fhir.util.BundleUtil;
import ca.uhn.fhir.util.FhirTerser;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.ServerConnector;
import org.hl7.fhir.instance.model.api.IBaseReference;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.instance.model.api.IIdType;
import org.hl7.fhir.r4.model.IdType;
import org.hl7.fhir.r4.model.Resource;
import org.hl7.fhir.r4.model.ResourceType;

/** HAPI FHIR with records in memory: PUT to load, then read and search by patient, page by page. */
public class Server {
  private static final List<String> TYPES =
      List.of(
          "Patient", "Condition", "Observation", "Procedure", "MedicationRequest",
          "MedicationStatement", "MedicationAdministration", "MedicationDispense",
          "AllergyIntolerance", "FamilyMemberHistory", "ServiceRequest", "Medication");

  public static void main(String[] args) throws Exception {
    int pageSize = Integer.parseInt(args[0]);
    String token = args[1];
    FhirContext context = FhirContext.forR4();
    FifoMemoryPagingProvider paging = new FifoMemoryPagingProvider(100);
    paging.setDefaultPageSize(pageSize);
    paging.setMaximumPageSize(pageSize);
    List<IResourceProvider> providers = new ArrayList<>();
    for (String type : TYPES) {
      providers.add(new Records(context, type));
    }
    RestfulServer rest = new RestfulServer(context);
    rest.setResourceProviders(providers);
    rest.setPagingProvider(paging);
    rest.registerInterceptor(new Bearer(token));

    org.eclipse.jetty.server.Server jetty = new org.eclipse.jetty.server.Server();
    ServerConnector connector = new ServerConnector(jetty);
    connector.setHost("127.0.0.1");
    connector.setPort(0);
    jetty.addConnector(connector);
    ServletContextHandler handler = new ServletContextHandler();
    handler.setContextPath("/");
    handler.addServlet(new ServletHolder(rest), "/fhir/*");
    jetty.setHandler(handler);
    jetty.start();
    System.out.println("port " + connector.getLocalPort());
    System.out.flush();
    while (System.in.read() >= 0) {
      // Runs until whoever started it closes its standard input.
    }
    jetty.stop();
  }

  /** Nothing without the token. */
  static class Bearer extends InterceptorAdapter {
    private final String expected;

    Bearer(String token) {
      expected = "Bearer " + token;
    }

    @Override
    public boolean incomingRequestPreProcessed(
        HttpServletRequest request, HttpServletResponse response) {
      if (!expected.equals(request.getHeader("Authorization"))) {
        throw new AuthenticationException("no valid token");
      }
      return true;
    }
  }

  static class Records implements IResourceProvider {
    private final FhirTerser terser;
    private final Class<? extends IBaseResource> type;
    private final Map<String, IBaseResource> kept = new ConcurrentHashMap<>();

    Records(FhirContext context, String name) {
      terser = context.newTerser();
      type = context.getResourceDefinition(name).getImplementingClass();
    }

    @Override
    public Class<? extends IBaseResource> getResourceType() {
      return type;
    }

    @Read
    public IBaseResource read(@IdParam IIdType id) {
      IBaseResource found = kept.get(id.getIdPart());
      if (found == null) {
        throw new ResourceNotFoundException(id);
      }
      return found;
    }

    @Update
    public MethodOutcome put(@IdParam IIdType id, @ResourceParam IBaseResource resource) {
      resource.setId(id.toUnqualifiedVersionless());
      kept.put(id.getIdPart(), resource);
      return new MethodOutcome(id);
    }

    @Search
    public List<IBaseResource> search(
        @OptionalParam(name = "patient") ReferenceParam patient, @Sort SortSpec sort) {
      List<IBaseResource> found = new ArrayList<>();
      for (IBaseResource resource : kept.values()) {
        if (patient == null || isAbout(resource, patient.getIdPart())) {
          found.add(resource);
        }
      }
      return found;
    }

    private boolean isAbout(IBaseResource resource, String id) {
      for (String path : List.of("subject", "patient")) {
        try {
          for (IBaseReference one : terser.getValues(resource, path, IBaseReference.class)) {
            if (id.equals(one.getReferenceElement().getIdPart())) {
              return true;
            }
          }
        } catch (ca.uhn.fhir.parser.DataFormatException notAnElement) {
          // This type says it by the other name.
        }
      }
      return false;
    }
  }
}
