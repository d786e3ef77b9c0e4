import jakarta.servlet.DispatcherType;
import jakarta.servlet.FilterChain;
import jakarta.servlet.http.HttpFilter;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.iceberg.CatalogUtil;
import org.apache.iceberg.rest.RESTCatalogAdapter;
import org.apache.iceberg.rest.RESTCatalogServlet;
import org.eclipse.jetty.ee10.servlet.FilterHolder;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.util.ssl.SslContextFactory;

/**
 * The lake's catalogue: Iceberg's own REST servlet on one address. Started with a properties file:
 * {@code rest.host}, {@code rest.port}, {@code rest.token} (optional, then every request but
 * {@code /healthz} must bear it), {@code rest.tls.keystore} (optional PKCS#12 with key and
 * certificate, then it answers over TLS alone) and its {@code rest.tls.password}; all other lines
 * configure the catalogue behind the servlet.
 */
public final class IcebergRest {
  private static final String HEALTH = "/healthz";

  public static void main(String[] arguments) throws Exception {
    var settings = read(Path.of(arguments[0]));
    var host = settings.getOrDefault("rest.host", "127.0.0.1");
    var port = Integer.parseInt(settings.getOrDefault("rest.port", "8181"));
    var token = settings.getOrDefault("rest.token", "");

    var catalog = CatalogUtil.buildIcebergCatalog("lake", settings, null);
    var adapter = new RESTCatalogAdapter(catalog);
    var handler = new ServletContextHandler(ServletContextHandler.NO_SESSIONS);
    if (!token.isEmpty()) {
      var check = new FilterHolder(new TokenCheck(token));
      handler.addFilter(check, "/*", EnumSet.of(DispatcherType.REQUEST));
    }
    handler.addServlet(new ServletHolder(new Health()), HEALTH);
    handler.addServlet(new ServletHolder(new RESTCatalogServlet(adapter)), "/*");

    var server = new Server();
    var tls = tls(settings);
    var connector =
        tls == null
            ? new ServerConnector(server)
            : new ServerConnector(server, tls, new HttpConnectionFactory());
    connector.setHost(host);
    connector.setPort(port);
    server.addConnector(connector);
    server.setHandler(handler);
    server.setStopAtShutdown(true); // SIGTERM: answer what was asked, then leave
    server.start();
    System.out.println("ready at " + (tls == null ? "http" : "https") + "://" + host + ":" + port);
    server.join();
    adapter.close();
  }

  /** What speaks TLS 1.2 or 1.3 with the key of the store; null where none is named. */
  private static SslContextFactory.Server tls(Map<String, String> settings) {
    var keystore = settings.getOrDefault("rest.tls.keystore", "");
    if (keystore.isEmpty()) {
      return null;
    }
    var tls = new SslContextFactory.Server();
    tls.setKeyStoreType("PKCS12");
    tls.setKeyStorePath(keystore);
    tls.setKeyStorePassword(settings.getOrDefault("rest.tls.password", ""));
    tls.setIncludeProtocols("TLSv1.3", "TLSv1.2");
    return tls;
  }

  private static Map<String, String> read(Path file) throws IOException {
    var properties = new Properties();
    try (var source = Files.newBufferedReader(file)) {
      properties.load(source);
    }
    var settings = new HashMap<String, String>();
    properties.forEach((name, value) -> settings.put(name.toString(), value.toString()));
    return settings;
  }

  /** Answers while the process serves, whatever the database does. */
  private static final class Health extends HttpServlet {
    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response)
        throws IOException {
      response.setContentType("application/json");
      response.getWriter().write("{\"status\":\"ok\"}");
    }
  }

  /** Refuses a request that does not bear the token; compares in constant time. */
  private static final class TokenCheck extends HttpFilter {
    private final byte[] expected;

    TokenCheck(String token) {
      this.expected = ("Bearer " + token).getBytes(StandardCharsets.UTF_8);
    }

    @Override
    protected void doFilter(
        HttpServletRequest request, HttpServletResponse response, FilterChain chain)
        throws IOException, jakarta.servlet.ServletException {
      var header = request.getHeader("Authorization");
      var given = (header == null ? "" : header).getBytes(StandardCharsets.UTF_8);
      if (HEALTH.equals(request.getServletPath()) || MessageDigest.isEqual(given, expected)) {
        chain.doFilter(request, response);
      } else {
        response.setHeader("WWW-Authenticate", "Bearer");
        response.sendError(HttpServletResponse.SC_UNAUTHORIZED);
      }
    }
  }
}
