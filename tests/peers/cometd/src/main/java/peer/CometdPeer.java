package peer;

import java.util.Arrays;

import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.server.BayeuxServerImpl;
import org.cometd.server.ext.AcknowledgedMessagesExtension;
import org.cometd.server.ext.ActivityExtension;
import org.cometd.server.ext.TimesyncExtension;
import org.cometd.server.http.JSONHttpTransport;
import org.cometd.server.http.JSONPHttpTransport;
import org.cometd.server.http.jakarta.CometDServlet;
import org.cometd.server.websocket.jetty.JettyWebSocketTransport;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Context;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.util.thread.QueuedThreadPool;
import org.eclipse.jetty.websocket.server.WebSocketUpgradeHandler;

/**
 * CometD's server as it comes: every transport and the default security policy. Its options come through the
 * environment, `COMETD_OPTIONS="timeout=1000 ext=ack"`; see the script `run` beside the pom.
 */
public class CometdPeer {
    public static void main(String[] args) throws Exception {
        Server server = new Server(new QueuedThreadPool(128));
        ServerConnector connector = new ServerConnector(server, 1, -1);
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.parseInt(System.getenv("COMETD_PORT")));
        connector.setAcceptQueueSize(1024);
        connector.setIdleTimeout(120_000);
        server.addConnector(connector);

        ServletContextHandler context = new ServletContextHandler("/");
        server.setHandler(context);
        context.insertHandler(WebSocketUpgradeHandler.from(server, context));

        BayeuxServerImpl bayeux = new BayeuxServerImpl();
        bayeux.setOption(Context.class.getName(), context.getContext());
        bayeux.setOption("ws.cometdURLMapping", "/cometd/*");
        String options = System.getenv().getOrDefault("COMETD_OPTIONS", "");
        Arrays.stream(options.split("\\s+")).filter(option -> !option.isEmpty()).forEach(option -> {
            String[] pair = option.split("=", 2);
            if (pair[0].equals("ext")) {
                switch (pair[1]) {
                    case "ack" -> bayeux.addExtension(new AcknowledgedMessagesExtension());
                    case "activity" ->
                        bayeux.addExtension(new ActivityExtension(ActivityExtension.Activity.CLIENT, 1_000));
                    case "timesync" -> bayeux.addExtension(new TimesyncExtension());
                    default -> throw new IllegalArgumentException("no such extension: " + pair[1]);
                }
            } else {
                bayeux.setOption(pair[0], pair[1]);
            }
        });
        bayeux.addTransport(new JettyWebSocketTransport(bayeux));
        bayeux.addTransport(new JSONHttpTransport(bayeux));
        bayeux.addTransport(new JSONPHttpTransport(bayeux));
        context.getServletContext().setAttribute(BayeuxServer.ATTRIBUTE, bayeux);

        ServletHolder servlet = new ServletHolder(new CometDServlet());
        servlet.setInitOrder(1);
        servlet.setAsyncSupported(true);
        context.addServlet(servlet, "/cometd/*");

        server.start();
        server.join();
    }
}
