// Command centrifuge-peer serves the Centrifugo client protocol over WebSocket with the library that Centrifugo is made
// of, and bridges Kafka topics to channels: what the gateway is measured beside.
//
//	centrifuge-peer -listen 127.0.0.1:18000 [-kafka 127.0.0.1:19092 -topics a,b]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/centrifugal/centrifuge"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:18000", "address")
	kafka := flag.String("kafka", "", "bootstrap servers; empty: no bridge")
	topics := flag.String("topics", "", "topics to bridge to channels of their names, comma-separated")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *listen, *kafka, *topics); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, listen, kafka, topics string) error {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, reply centrifuge.SubscribeCallback) {
			reply(centrifuge.SubscribeReply{}, nil)
		})
		client.OnPublish(func(_ centrifuge.PublishEvent, reply centrifuge.PublishCallback) {
			reply(centrifuge.PublishReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return err
	}
	defer node.Shutdown(context.Background())

	if kafka != "" {
		consumer, err := kgo.NewClient(
			kgo.SeedBrokers(strings.Split(kafka, ",")...),
			kgo.ConsumeTopics(strings.Split(topics, ",")...),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		)
		if err != nil {
			return err
		}
		defer consumer.Close()
		go bridge(ctx, consumer, node)
	}

	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{}))
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "{}") })
	server := &http.Server{Addr: listen, Handler: mux}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	return server.ListenAndServe()
}

func bridge(ctx context.Context, consumer *kgo.Client, node *centrifuge.Node) {
	for ctx.Err() == nil {
		fetches := consumer.PollFetches(ctx)
		fetches.EachError(func(topic string, partition int32, err error) {
			log.Printf("fetch %s/%d: %v", topic, partition, err)
		})
		fetches.EachRecord(func(record *kgo.Record) {
			if _, err := node.Publish(record.Topic, record.Value); err != nil {
				log.Printf("publish: %v", err)
			}
		})
	}
}
