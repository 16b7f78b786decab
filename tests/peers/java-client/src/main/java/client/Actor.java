package client;

import jakarta.websocket.ContainerProvider;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.cometd.bayeux.Channel;
import org.cometd.bayeux.Message;
import org.cometd.bayeux.client.ClientSession.MessageListener;
import org.cometd.bayeux.client.ClientSessionChannel;
import org.cometd.client.BayeuxClient;
import org.cometd.client.ext.AckExtension;
import org.cometd.client.ext.TimesyncClientExtension;
import org.cometd.client.http.jetty.JettyHttpClientTransport;
import org.cometd.client.transport.ClientTransport;
import org.cometd.client.websocket.jakarta.WebSocketTransport;
import org.eclipse.jetty.client.HttpClient;
import org.eclipse.jetty.util.ajax.JSON;

/** An application with CometD's client for Java. */
public final class Actor {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    private final TimesyncClientExtension timesync = new TimesyncClientExtension();
    private final Map<String, ClientSessionChannel.MessageListener> listeners = new ConcurrentHashMap<>();
    /** The command to handshake, until it was answered. */
    private final AtomicReference<Object> handshake = new AtomicReference<>();
    private final BayeuxClient client;

    private Actor(String url, String transport, List<String> wishes) throws Exception {
        client = new BayeuxClient(url, transport(transport));
        client.setOption(BayeuxClient.BACKOFF_INCREMENT_OPTION, 100L);
        client.setOption(BayeuxClient.MAX_BACKOFF_OPTION, 1000L);
        client.addExtension(timesync);
        if (wishes.contains("ack")) {
            client.addExtension(new AckExtension());
        }
        if (wishes.contains("emp")) {
            client.addExtension(new EmpReplay());
        }
        on(Channel.META_HANDSHAKE, reply -> {
            if (reply.isSuccessful()) {
                tell("event", "session", "clientId", client.getId());
                // A new session knows nothing of the old one's subscriptions.
                listeners.forEach((channel, listener) -> client.getChannel(channel).subscribe(listener));
            }
            Object id = handshake.getAndSet(null);
            if (id != null && reply.isSuccessful()) {
                tell("id", id, "ok", Map.of("transport", client.getTransport().getName()));
            } else if (id != null) {
                tell("id", id, "error", reply.toString());
            }
        });
        on(Channel.META_CONNECT, reply -> tell("event", "connect", "successful", reply.isSuccessful()));
        on(Channel.META_SUBSCRIBE, reply -> {
            if (reply.isSuccessful()) {
                tell("event", "subscribed", "channel", reply.get(Message.SUBSCRIPTION_FIELD));
            }
        });
    }

    private static ClientTransport transport(String name) throws Exception {
        Map<String, Object> options = new HashMap<>();
        if (name.equals("websocket")) {
            return new WebSocketTransport(options, null, ContainerProvider.getWebSocketContainer());
        }
        HttpClient http = new HttpClient();
        http.start();
        return new JettyHttpClientTransport(options, http);
    }

    private void on(String channel, java.util.function.Consumer<Message> listener) {
        client.getChannel(channel).addListener((ClientSessionChannel.MessageListener) (on, message) -> listener.accept(message));
    }

    private void obey(Map<?, ?> command) {
        Object id = command.get("id");
        String channel = (String)command.get("channel");
        MessageListener done = reply -> {
            if (reply.isSuccessful()) {
                tell("id", id, "ok", null);
            } else {
                tell("id", id, "error", reply.toString());
            }
        };
        switch ((String)command.get("do")) {
            case "handshake" -> {
                handshake.set(id);
                client.handshake();
            }
            case "subscribe" -> {
                ClientSessionChannel.MessageListener heard = (on, message) ->
                    tell("event", "heard", "by", channel, "channel", message.getChannel(), "data", message.getData());
                listeners.put(channel, heard);
                client.getChannel(channel).subscribe(heard, done);
            }
            case "unsubscribe" -> client.getChannel(channel).unsubscribe(listeners.remove(channel), done);
            case "publish" -> client.getChannel(channel).publish(command.get("data"), done);
            case "batch" -> {
                int count = ((Number)command.get("count")).intValue();
                AtomicInteger left = new AtomicInteger(count);
                client.batch(() -> {
                    for (int n = 0; n < count; ++n) {
                        client.getChannel(channel).publish(Map.of("n", n), reply -> {
                            if (!reply.isSuccessful() || left.decrementAndGet() == 0) {
                                done.onMessage(reply);
                            }
                        });
                    }
                });
            }
            case "call" -> client.remoteCall((String)command.get("target"), command.get("data"),
                answer -> tell("id", id, "ok", answer.getData()));
            case "clock" -> tell("id", id, "ok", Map.of("lag", timesync.getLag(), "offset", timesync.getOffset()));
            case "disconnect" -> client.disconnect(done);
            default -> tell("id", id, "error", "unknown command");
        }
    }

    private static void tell(Object... pairs) {
        Map<String, Object> line = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            line.put((String)pairs[i], pairs[i + 1]);
        }
        OUT.println(new JSON().toJSON(line));
    }

    public static void main(String[] arguments) throws Exception {
        Actor actor = new Actor(arguments[0], arguments[1], List.of(arguments));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            actor.obey((Map<?, ?>)new JSON().fromJSON(line));
        }
        System.exit(0); // whatever threads the client still holds
    }
}
